"""Greedy decoding of prompts of different lengths, stopped by text."""

from collections.abc import Callable, Sequence, Set

import torch

from evals.language_model.forward import CausalForward


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
    answer = forward(rows, keep=1, use_cache=True)
    mask = rows.mask
    made: list[list[int]] = [[] for _ in prompts]
    running = [True] * len(prompts)
    for _ in range(max_new_tokens):
        chosen = answer.logits[:, -1].argmax(1).tolist()
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
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
    return made


def text_before(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the stop texts."""
    places = [place for place in (text.find(each) for each in stop) if place >= 0]
    return text[: min(places)] if places else text
