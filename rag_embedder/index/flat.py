"""Exact search in numpy: the reference for every other back-end."""

import threading
from dataclasses import dataclass

import numpy as np

from rag_embedder.index import rows
from rag_embedder.index.exact import search_exactly
from rag_embedder.index.place import IndexPlace
from rag_embedder.index.requests import check_added, check_request
from rag_embedder.index.rows import Rows
from rag_embedder.protocols import Neighbours
from rag_embedder.types import Numbers, Vectors


@dataclass(frozen=True, slots=True)
class FlatSettings:
    """No options, no cache: the index is read from the truth when it is opened."""

    def open(self, place: IndexPlace) -> "FlatIndex":
        """An empty index."""
        return FlatIndex(place.dim)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What readers see: never changed, only replaced. `vectors` (n, dim) may be the front of a larger array."""

    rows: Rows
    vectors: Vectors
    longest: float


class FlatIndex:
    """Searches take no lock: they read one snapshot; changes build the next one beside it."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._changing = threading.Lock()
        self._room = np.empty((0, dim), np.float32)
        self._now = _Snapshot(rows.empty(), self._room, 0.0)

    def numbers(self) -> Numbers:
        """The row numbers held, ascending."""
        return self._now.rows.live_numbers()

    def add(self, numbers: Numbers, vectors: Vectors) -> None:
        """Take in rows; the array grows by half when it is full, so a single row is rarely expensive.

        The first `vectors` are kept as they are, not copied: the caller must not change them afterwards.
        """
        numbers, vectors = check_added(numbers, vectors, self._dim)
        if len(numbers) == 0:
            return
        with self._changing:
            now, end = self._now, len(self._now.rows) + len(numbers)
            if len(now.rows) == 0:
                self._room = vectors  # adopted as it is: no second copy of a large index
            else:
                self._make_room(now, end)
                self._room[len(now.rows) : end] = vectors
            longest = max(now.longest, float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max())))
            self._now = _Snapshot(rows.joined(now.rows, numbers), self._room[:end], longest)

    def _make_room(self, now: _Snapshot, end: int) -> None:
        # Readers only look at the front part, so the rest of the array may be written while they read.
        if end <= len(self._room) and self._room.flags.writeable:
            return
        grown = np.empty((max(end, len(now.rows) * 3 // 2), self._dim), np.float32)
        grown[: len(now.rows)] = now.vectors
        self._room = grown

    def remove(self, numbers: Numbers) -> None:
        """Forget rows; the array is packed when more than a quarter of it is dead."""
        with self._changing:
            now = self._now
            places = now.rows.places_of(np.asarray(numbers, np.int64))
            if len(places) == 0:
                return
            left = now.rows.without(places)
            if left.num_dead * 4 <= len(left):
                self._now = _Snapshot(left, now.vectors, now.longest)
                return
            self._room = now.vectors[left.alive]
            self._now = _Snapshot(rows.of(left.numbers[left.alive]), self._room, now.longest)

    def search(self, queries: Vectors, k: int, *, allowed: Numbers | None = None) -> list[Neighbours]:
        """The `k` best rows for each query."""
        queries = check_request(queries, k, self._dim)
        now = self._now
        if allowed is None:
            return search_exactly(queries, k, now.rows, now.vectors, now.longest)
        places = now.rows.places_of(np.asarray(allowed, np.int64))
        if len(places) * 4 > len(now.rows):  # cheaper to score all than to copy the subset
            return search_exactly(queries, k, now.rows.only(places), now.vectors, now.longest)
        return search_exactly(queries, k, rows.of(now.rows.numbers[places]), now.vectors[places], now.longest)

    def save(self) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Give back the memory."""
        with self._changing:
            self._room = np.empty((0, self._dim), np.float32)
            self._now = _Snapshot(rows.empty(), self._room, 0.0)
