"""Labels as rewards: what people or rules said about a candidate, no model asked."""

from collections.abc import Mapping, Sequence
from typing import Self

from rag_embedder.errors import InputError
from trainer.examples import Example
from trainer.rewards.protocol import RewardOptions


class LabelReward:
    """Each candidate's grade."""

    @classmethod
    def build(cls, options: RewardOptions) -> Self:
        """Nothing to load."""
        return cls()

    @property
    def settings(self) -> Mapping[str, object]:
        """Nothing decides but the labels."""
        return {}

    def check(self, examples: Sequence[Example]) -> None:
        """Raise InputError for an example without a labelled candidate: it would teach nothing."""
        for example in examples:
            if not any(candidate.label > 0 for candidate in example.candidates):
                raise InputError(
                    f"example {example.id}: none of {len(example.candidates)} candidates has a label above 0; expected "
                    "one that is relevant: leave it out, or use another reward."
                )

    def rewards(self, examples: Sequence[Example]) -> list[list[float]]:
        """One per candidate."""
        return [[float(candidate.label) for candidate in example.candidates] for example in examples]
