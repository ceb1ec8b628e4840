"""Which texts go through the model together: sorted by length, bounded by padded tokens."""

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], *, max_tokens: int, max_texts: int = 256) -> list[list[int]]:
    """Positions of the texts of each batch, longest texts first.

    A batch costs (number of texts) x (longest of them) tokens; `max_tokens` bounds that cost, and a single text
    longer than it is a batch of its own. Longest first: if memory is short, it fails at once and not after hours.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = 0
    for position in order:
        if batch and (len(batch) == max_texts or (len(batch) + 1) * longest > max_tokens):
            batches.append(batch)
            batch = []
        if not batch:
            longest = max(1, lengths[position])
        batch.append(position)
    if batch:
        batches.append(batch)
    return batches
