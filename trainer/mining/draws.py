"""A seeded part of the queries, where a data set has no judgements to be drawn by."""

import random
from collections.abc import Sequence
from typing import TypeVar

from evals.datasets.selection import Selection

ItemT = TypeVar("ItemT")


def draw(items: Sequence[ItemT], selection: Selection, key: str) -> Sequence[ItemT]:
    """At most `selection.limit` items, in their order; a smaller limit draws a part of what a larger one does."""
    if selection.limit is None or selection.limit >= len(items):
        return items
    order = list(range(len(items)))
    random.Random(f"{key}/{selection.seed}").shuffle(order)
    return [items[place] for place in sorted(order[: selection.limit])]
