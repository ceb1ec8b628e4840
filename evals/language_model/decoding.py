"""Decoding of prompts of different lengths, greedily or by sampling, stopped by text."""

import random
from collections.abc import Callable, Sequence, Set

import torch
from torch import Tensor

from evals.language_model.forward import CausalForward, Pass, selected
from evals.language_model.protocol import Sampling


def decode_greedily(
    forward: CausalForward,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_ids: Set[int],
    is_finished: Callable[[list[int]], bool],
) -> list[list[int]]:
    """New ids of each prompt, the end token left out; a row stops once `is_finished` says so of its new ids."""
    rows = forward.left_padded(prompts)
    first = forward(rows, keep=1, use_cache=True)
    return _decode(
        forward,
        first,
        rows.mask,
        choose=lambda logits: logits.argmax(1).tolist(),
        max_new_tokens=max_new_tokens,
        end_ids=end_ids,
        is_finished=is_finished,
    )


def decode_by_sampling(
    forward: CausalForward,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    seeds: Sequence[str],
    end_ids: Set[int],
    is_finished: Callable[[list[int]], bool],
    shares_prefixes: bool = True,
) -> list[list[list[int]]]:
    """`sampling.count` rows of new ids for each prompt; each row draws from its own stream, made from the seed.

    A prompt is read once for all its samples, unless `shares_prefixes` is off.
    """
    copies = [number for number in range(len(prompts)) for _ in range(sampling.count)]
    rows = forward.left_padded(prompts if shares_prefixes else [prompts[number] for number in copies])
    first = forward(rows, keep=1, use_cache=True)
    mask = rows.mask
    if shares_prefixes and first.cache is not None:
        owners = torch.tensor(copies, device=mask.device)
        first = Pass(first.logits[owners], selected(first.cache, owners))
        mask = mask[owners]
    streams = [random.Random(f"{seed} {copy}") for seed in seeds for copy in range(sampling.count)]
    made = _decode(
        forward,
        first,
        mask,
        choose=lambda logits: draw_tokens(logits, [stream.random() for stream in streams], sampling),
        max_new_tokens=sampling.max_new_tokens,
        end_ids=end_ids,
        is_finished=is_finished,
    )
    return [made[start : start + sampling.count] for start in range(0, len(made), sampling.count)]


def draw_tokens(logits: Tensor, uniform: Sequence[float], sampling: Sampling) -> list[int]:
    """A token for each row of `logits` (rows, vocabulary): where its cumulative probability passes the row's number.

    With top_p below 1 only the likeliest tokens count whose probabilities add up to it (nucleus sampling, Holtzman et
    al. 2020). Tokens stay in the vocabulary's order, so that rounding can only matter at a boundary between two.
    """
    values = logits.cpu() if logits.device.type == "mps" else logits  # that device has no float64
    chances = (values.double() / sampling.temperature).softmax(1)
    if sampling.top_p < 1.0:
        ordered, places = chances.sort(dim=1, descending=True, stable=True)
        is_outside = ordered.cumsum(1) - ordered >= sampling.top_p
        chances = chances.masked_fill(is_outside.gather(1, places.argsort(1)), 0.0)
    reached = chances.cumsum(1)
    wanted = torch.tensor(uniform, dtype=torch.float64, device=reached.device).unsqueeze(1) * reached[:, -1:]
    return torch.searchsorted(reached, wanted, right=True).clamp(max=reached.shape[1] - 1).squeeze(1).tolist()


def text_before(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the stop texts."""
    places = [place for place in (text.find(each) for each in stop) if place >= 0]
    return text[: min(places)] if places else text


def _decode(
    forward: CausalForward,
    answer: Pass,
    mask: Tensor,
    *,
    choose: Callable[[Tensor], list[int]],
    max_new_tokens: int,
    end_ids: Set[int],
    is_finished: Callable[[list[int]], bool],
) -> list[list[int]]:
    """Go on from a first pass; `mask` (rows, cached) says what of its cache is text."""
    made: list[list[int]] = [[] for _ in range(len(mask))]
    running = [True] * len(mask)
    for _ in range(max_new_tokens):
        chosen = choose(answer.logits[:, -1])
        for row, token in enumerate(chosen):
            if running[row] and token in end_ids:
                running[row] = False
            elif running[row]:
                made[row].append(token)
                running[row] = not is_finished(made[row])
        if not any(running) or max(map(len, made)) == max_new_tokens:
            break
        step = forward.following(mask, [[token] for token in chosen])
        answer = forward(step, keep=1, cache=answer.cache, use_cache=True)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return made
