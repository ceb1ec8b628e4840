"""Bringing an index up to the truth: all of it when opened, then what changed since."""

import numpy as np

from rag_embedder.index.place import IndexPlace, IndexSettings
from rag_embedder.protocols import VectorIndex
from rag_embedder.store import START, Changes, Position, SpaceInfo, Store
from rag_embedder.types import Numbers

_BLOCK = 100_000


def open_index(settings: IndexSettings, store: Store, space: int) -> tuple[VectorIndex, Position]:
    """The index of one space, equal to the truth at the returned position."""
    info = next(each for each in store.spaces() if each.space == space)
    index = settings.open(place_of(store, info))
    try:
        return index, catch_up(index, store, space)
    except BaseException:
        index.close()
        raise


def place_of(store: Store, info: SpaceInfo) -> IndexPlace:
    """What a back-end may know of the store."""
    return IndexPlace(
        dim=info.dim,
        folder=store.cache_folder,
        store_id=store.store_id,
        space=info.space,
        fingerprint=info.fingerprint,
        generation=lambda: store.cache_generation(info.space),
        bump=lambda: store.bump_cache_generation(info.space),
    )


def catch_up(index: VectorIndex, store: Store, space: int) -> Position:
    """Compare the row numbers of index and truth and settle every difference, whatever the index held.

    Rows never change under their number, so equal numbers mean equal content. Returns the position in the change
    feed at which index and truth are equal.
    """
    held = index.numbers()
    if len(held) == 0:
        changes = store.changes(space, START)
        apply(index, changes)
        return changes.position
    true, position = store.vector_numbers(space)
    _remove(index, np.setdiff1d(held, true, assume_unique=True))
    lacking = np.setdiff1d(true, held, assume_unique=True)
    for start in range(0, len(lacking), _BLOCK):
        numbers, vectors = store.vectors(space, lacking[start : start + _BLOCK])
        if len(numbers):
            index.add(numbers, vectors)
    return position


def apply(index: VectorIndex, changes: Changes) -> None:
    """Give an index what happened since the position it stood at."""
    if len(changes.numbers):
        index.add(changes.numbers, changes.vectors)
    _remove(index, changes.removed)


def refresh(index: VectorIndex, store: Store, space: int, position: Position) -> Position:
    """Follow the change feed from `position` to its end; returns the new position."""
    changes = store.changes(space, position)
    apply(index, changes)
    return changes.position


def _remove(index: VectorIndex, numbers: Numbers) -> None:
    if len(numbers):
        index.remove(numbers)
