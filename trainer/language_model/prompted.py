"""Training examples as a language model reads them when it scores: a retrieved text, the query, the expected output."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from transformers import PreTrainedTokenizerFast

from trainer.examples import Candidate, Example
from trainer.language_model.documents import TokenSequence, encode, generator, start_and_end
from trainer.language_model.settings import TextDataSettings
from trainer.templates import Template

ItemT = TypeVar("ItemT")

_BLOCK = 256
_OTHER_SHARE = 0.25
"""How often an example is shown without what helps it: a reward compares such contexts too."""


class PromptedSource:
    """Examples to train on, each once per epoch, with one candidate or none.

    Mostly with one that is known to be relevant (any, where nothing is known); else, in equal shares, with another
    candidate of the example, with one of another example, and with none. Of several outputs one is drawn. A context
    that is too long loses its beginning, an output never loses anything.
    """

    may_be_cut = False

    def __init__(
        self,
        settings: TextDataSettings,
        examples: Sequence[Example],
        template: Template,
        tokenizer: PreTrainedTokenizerFast,
        *,
        seed: int,
        max_length: int,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._examples = examples
        self._template = template
        self._tokenizer = tokenizer
        self._seed = seed
        self._max_length = max_length

    def sequences(self, epoch: int) -> Iterator[TokenSequence]:
        """All examples, in an order, with candidates and outputs drawn for the epoch."""
        draw = generator(self._seed, self.name, epoch)
        order = draw.permutation(len(self._examples))
        for start in range(0, len(order), _BLOCK):
            drawn = [self._examples[number] for number in order[start : start + _BLOCK]]
            contexts = [self._context(example, draw) for example in drawn]
            outputs = [self._template.output(_one_of(example.answers, draw)) for example in drawn]
            before, after = encode(self._tokenizer, contexts), encode(self._tokenizer, outputs)
            for context, output in zip(before, after, strict=True):
                yield self._sequence(context, output)

    def _context(self, example: Example, draw: np.random.Generator) -> str:
        candidate = self._candidate(example, draw)
        if candidate is None:
            return self._template.alone(example)
        return self._template.with_candidate(example, candidate.text, candidate.continuation)

    def _candidate(self, example: Example, draw: np.random.Generator) -> Candidate | None:
        relevant = [candidate for candidate in example.candidates if candidate.label > 0]
        if draw.random() >= _OTHER_SHARE:
            return _one_of(relevant or example.candidates, draw)
        kind = draw.integers(3)
        others = [candidate for candidate in example.candidates if candidate.label == 0]
        if kind == 0 and relevant and others:
            return _one_of(others, draw)
        if kind <= 1:
            return _one_of(_one_of(self._examples, draw).candidates, draw)
        return None

    def _sequence(self, context: Sequence[int], output: Sequence[int]) -> TokenSequence:
        start, end = start_and_end(self._tokenizer)
        room = self._max_length - len(output) - 2
        kept = context[max(0, len(context) - room) :]
        ids = np.array([start, *kept, *output, end], dtype=np.int32)
        weights = np.full(len(ids), self._settings.context_weight, dtype=np.float32)
        weights[0] = 0.0
        weights[1 + len(kept) :] = self._settings.output_weight
        return TokenSequence(ids, weights)


def trainable(
    examples: Sequence[Example], template: Template, tokenizer: PreTrainedTokenizerFast, *, max_length: int
) -> tuple[list[Example], Mapping[str, int]]:
    """The examples with an output that fits into half of a row, with only such outputs, and how many are left out why.

    The other half is for what stands before the output.
    """
    left_out: Counter[str] = Counter()
    kept: list[Example] = []
    for start in range(0, len(examples), _BLOCK):
        block = examples[start : start + _BLOCK]
        pairs = [(number, answer) for number, example in enumerate(block) for answer in example.answers]
        counts = encode(tokenizer, [template.output(answer) for _, answer in pairs])
        fitting: dict[int, list[str]] = {}
        for (number, answer), ids in zip(pairs, counts, strict=True):
            if 0 < len(ids) <= max_length // 2 and template.output(answer).strip():
                fitting.setdefault(number, []).append(answer)
        for number, example in enumerate(block):
            if number in fitting:
                kept.append(_with_answers(example, fitting[number]))
            else:
                left_out["without an output that fits" if example.answers else "without an output"] += 1
    return kept, dict(left_out)


def _with_answers(example: Example, answers: Sequence[str]) -> Example:
    if len(answers) == len(example.answers):
        return example
    return Example(
        id=example.id,
        query=example.query,
        candidates=example.candidates,
        answers=tuple(answers),
        prompt=example.prompt,
        rewards=example.rewards,
    )


def _one_of(items: Sequence[ItemT], draw: np.random.Generator) -> ItemT:
    return items[int(draw.integers(len(items)))]
