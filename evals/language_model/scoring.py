"""Log-likelihoods of spans: sorted by length, contexts that several spans share read once.

A span whose context no other span has goes through in one pass. Spans of one context (the options of a question, the
sampled outputs of a prompt) read it once, keep its keys and values, and then only their own tokens go through.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from transformers import Cache

from evals.language_model.forward import CausalForward, selected
from evals.language_model.protocol import LanguageModelError
from evals.language_model.spans import Span
from rag_embedder.batching import plan_batches

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class TokenScores:
    """log p of each token of one continuation, in nats, and whether each was the likeliest token."""

    log_probabilities: list[float]
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class _Group:
    """The spans, by number, that share one context."""

    context: tuple[int, ...]
    members: tuple[int, ...]


class SpanScorer:
    """Scores spans with one model; `batch_tokens` bounds the padded tokens of one pass."""

    def __init__(self, forward: CausalForward, *, batch_tokens: int, share_prefixes: bool = True) -> None:
        self._forward = forward
        self._batch_tokens = batch_tokens
        self._share_prefixes = share_prefixes

    def score(self, spans: Sequence[Span]) -> list[TokenScores]:
        """One result per span, in order.

        Raises:
            LanguageModelError: if the model answers NaN.
        """
        alone, shared = self._split(spans)
        scores: dict[int, TokenScores] = {}
        lengths = [len(spans[number].context) + len(spans[number].continuation) for number in alone]
        for batch in plan_batches(lengths, max_tokens=self._batch_tokens):
            numbers = [alone[position] for position in batch]
            found = halved_when_full(self._score_alone, [spans[number] for number in numbers])
            scores.update(zip(numbers, found, strict=True))
        for batch in plan_batches([len(group.context) for group in shared], max_tokens=self._batch_tokens):
            groups = [shared[position] for position in batch]
            numbers = [number for group in groups for number in group.members]
            found = halved_when_full(lambda part: self._score_groups(part, spans), groups)
            scores.update(zip(numbers, found, strict=True))
        _refuse_nan(scores)
        return [scores[number] for number in range(len(spans))]

    def _split(self, spans: Sequence[Span]) -> tuple[list[int], list[_Group]]:
        members: dict[tuple[int, ...], list[int]] = {}
        for number, span in enumerate(spans):
            members.setdefault(span.context, []).append(number)
        if not self._share_prefixes:
            return list(range(len(spans))), []
        alone = [numbers[0] for numbers in members.values() if len(numbers) == 1]
        shared = [_Group(context, tuple(numbers)) for context, numbers in members.items() if len(numbers) > 1]
        return alone, shared

    def _score_alone(self, spans: Sequence[Span]) -> list[TokenScores]:
        # The last token is only predicted, never read.
        rows = self._forward.left_padded([[*span.context, *span.continuation[:-1]] for span in spans])
        keep = max(len(span.continuation) for span in spans)
        logits = self._forward(rows, keep=keep).logits
        targets = torch.zeros((len(spans), keep), dtype=torch.long)
        for row, span in enumerate(spans):
            targets[row, keep - len(span.continuation) :] = torch.tensor(span.continuation)
        return [
            TokenScores(values[keep - len(span.continuation) :], all(greedy[keep - len(span.continuation) :]))
            for span, values, greedy in zip(spans, *_read(logits, targets), strict=True)
        ]

    def _score_groups(self, groups: Sequence[_Group], spans: Sequence[Span]) -> list[TokenScores]:
        """Results of all members, group after group."""
        rows = self._forward.left_padded([group.context for group in groups])
        continuations = [spans[number].continuation for group in groups for number in group.members]
        owners = torch.tensor([row for row, group in enumerate(groups) for _ in group.members])
        needs_cache = any(len(continuation) > 1 for continuation in continuations)
        first = self._forward(rows, keep=1, use_cache=needs_cache)
        beginnings = torch.tensor([continuation[:1] for continuation in continuations])
        values, greedy = _read(first.logits[owners.to(first.logits.device)], beginnings)
        if first.cache is not None:
            self._read_on(first.cache, rows.mask, owners, continuations, values, greedy)
        return [TokenScores(each, all(flags)) for each, flags in zip(values, greedy, strict=True)]

    def _read_on(
        self,
        cache: Cache,
        mask: Tensor,
        owners: Tensor,
        continuations: Sequence[tuple[int, ...]],
        values: list[list[float]],
        greedy: list[list[bool]],
    ) -> None:
        """Append what follows the first token of every continuation to `values` and `greedy`."""
        longer = [number for number, continuation in enumerate(continuations) if len(continuation) > 1]
        longest = max(len(continuations[number]) for number in longer)
        for part in _parts(longer, max(1, self._batch_tokens // (mask.shape[1] + longest))):
            chosen = owners[part].to(mask.device)
            read = self._forward.following(mask[chosen], [continuations[number][:-1] for number in part])
            width = read.ids.shape[1]
            logits = self._forward(read, keep=width, cache=selected(cache, chosen)).logits
            targets = torch.zeros((len(part), width), dtype=torch.long)
            for row, number in enumerate(part):
                targets[row, : len(continuations[number]) - 1] = torch.tensor(continuations[number][1:])
            for number, more, flags in zip(part, *_read(logits, targets), strict=True):
                values[number] += more[: len(continuations[number]) - 1]
                greedy[number] += flags[: len(continuations[number]) - 1]


def halved_when_full(work: Callable[[Sequence[ItemT]], list], items: Sequence[ItemT]) -> list:
    """`work(items)`; where GPU memory is short, in halves."""
    try:
        return work(items)
    except torch.cuda.OutOfMemoryError:
        if len(items) == 1:
            raise
    torch.cuda.empty_cache()
    half = len(items) // 2
    return [*halved_when_full(work, items[:half]), *halved_when_full(work, items[half:])]


def _read(logits: Tensor, targets: Tensor) -> tuple[list[list[float]], list[list[bool]]]:
    """Log-probability of every target (rows, columns), and whether it was the likeliest token."""
    targets = targets.to(logits.device)
    with torch.inference_mode():
        chosen = logits.gather(2, targets.unsqueeze(2)).squeeze(2)
        return (chosen - logits.logsumexp(2)).tolist(), (chosen >= logits.amax(2)).tolist()


def _parts(numbers: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _refuse_nan(scores: dict[int, TokenScores]) -> None:
    bad = sum(any(value != value for value in score.log_probabilities) for score in scores.values())
    if bad:
        raise LanguageModelError(
            f"the model gave NaN for {bad} of {len(scores)} spans; expected log-likelihoods. "
            "Load it with dtype='float32' or 'bfloat16'."
        )
