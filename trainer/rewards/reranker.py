"""A reranker as teacher: it reads query and candidate together and answers one number.

LLM-Embedder's question-answering data were scored this way: a cross-encoder trained on a language model's scores,
which alone are close to hard labels there.
"""

from collections.abc import Mapping, Sequence
from typing import Self

from rag_embedder import Reranker
from rag_embedder.errors import ConfigError, InputError
from trainer.examples import Example
from trainer.rewards.protocol import RewardOptions


class RerankerReward:
    """The score of a `Reranker`; a pair that is too long loses the candidate's end."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker

    @classmethod
    def build(cls, options: RewardOptions) -> Self:
        """Load the reranker; errors as in `Reward`, and those of `Reranker.load`."""
        if options.reranker is None:
            raise ConfigError("reranker: got none; expected a folder or hub id of a cross-encoder.")
        return cls(
            Reranker.load(
                options.reranker,
                device=options.device,
                dtype=options.dtype,
                max_length=options.max_length,
                batch_tokens=options.batch_tokens,
            )
        )

    @property
    def settings(self) -> Mapping[str, object]:
        """The model with all that decides its scores, and how much of a pair it reads."""
        return {"reranker": self._reranker.fingerprint, "max_length": self._reranker.max_length}

    def check(self, examples: Sequence[Example]) -> None:
        """Raise InputError for a query that leaves no room for a candidate."""
        rooms = self._reranker.rooms(example.query for example in examples)
        for example, room in zip(examples, rooms, strict=True):
            if room < 1:
                raise InputError(f"example {example.id}: {self._reranker.too_long(room)} Or leave it out.")

    def rewards(self, examples: Sequence[Example]) -> list[list[float]]:
        """One per candidate; pairs are batched by length."""
        pairs = [(example.query, candidate.text) for example in examples for candidate in example.candidates]
        in_order = iter(self._reranker.score_pairs(pairs).tolist())
        return [[next(in_order) for _ in example.candidates] for example in examples]
