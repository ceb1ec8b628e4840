"""Which texts go through the model together: sorted by length, bounded by the tokens they cost."""

from collections.abc import Sequence


def plan_batches(
    lengths: Sequence[int], *, max_tokens: int, max_texts: int | None = None, pads: bool = True
) -> list[list[int]]:
    """Positions of the texts of each batch, longest texts first.

    With padding a batch costs (number of texts) x (longest of them) tokens, without it the sum of the lengths;
    `max_tokens` bounds that cost, and a single text longer than it is a batch of its own. `max_texts` is 256 with
    padding and without bound otherwise. Longest first: if memory is short, it fails at once and not after hours.
    """
    if max_texts is None:
        max_texts = 256 if pads else len(lengths)
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = cost = 0
    for position in order:
        # A text without tokens costs one, so that batches stay bounded.
        more = longest if pads and batch else max(1, lengths[position])
        if batch and (len(batch) == max_texts or cost + more > max_tokens):
            batches.append(batch)
            batch, cost = [], 0
            more = max(1, lengths[position])
        if not batch:
            longest = more
        batch.append(position)
        cost += more
    if batch:
        batches.append(batch)
    return batches
