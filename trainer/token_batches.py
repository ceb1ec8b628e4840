"""Which texts go through the model together in training, and how many of the computed tokens are padding."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_PADDING = 0.03
"""Share of a padded batch's tokens that may be padding."""


@dataclass(slots=True)
class PaddingCount:
    """Tokens seen so far: those of texts, and those computed."""

    real: int = 0
    computed: int = 0

    def add(self, *, real: int, computed: int) -> None:
        """Count one batch."""
        self.real += real
        self.computed += computed

    @property
    def share(self) -> float:
        """Part of the computed tokens that was padding, 0 to 1."""
        return 1 - self.real / self.computed if self.computed else 0.0


def unpadded_batches(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Positions of the texts of each packed row, longest first; only a single text may exceed `max_tokens`."""
    batches: list[list[int]] = []
    tokens = max_tokens
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        if tokens + lengths[position] > max_tokens:
            batches.append([])
            tokens = 0
        batches[-1].append(position)
        tokens += lengths[position]
    return batches


def padded_batches(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """As `unpadded_batches` for models that need padding, of which no batch has more than `MAX_PADDING`."""
    batches: list[list[int]] = []
    real = width = 0
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        length = lengths[position]
        computed = width * (len(batches[-1]) + 1) if batches else 0
        if not batches or computed > max_tokens or computed - real - length > MAX_PADDING * computed:
            batches.append([])
            real, width = 0, length
        batches[-1].append(position)
        real += length
    return batches
