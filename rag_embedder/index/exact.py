"""Exact search over many rows for many queries: a product of blocks, of which hardly anything is looked at twice."""

import numpy as np

from rag_embedder.index import ranking
from rag_embedder.index.rows import Places, Rows
from rag_embedder.protocols import Neighbours
from rag_embedder.types import Vectors

_QUERIES = 256
"""Queries of one product: enough that every row is read from memory for all of them at once."""

_SCORES = 2_000_000
"""Scores of one product, 8 MB: they are compared while they are still in the processor's caches."""

_FIRST = 2048
"""Rows of the first block, whose scores are all partitioned; it shows how good a row of the others has to be."""


def search_exactly(queries: Vectors, k: int, table: Rows, vectors: Vectors, longest: float) -> list[Neighbours]:
    """The `k` best live rows of `vectors` (n, dim) for each of `queries` (q, dim), exact, ties included.

    `longest` is the largest length of a row.
    """
    if table.num_alive == 0:
        return [ranking.nothing() for _ in queries]
    found: list[Neighbours] = []
    for start in range(0, len(queries), _QUERIES):
        block = queries[start : start + _QUERIES]
        for query, places in zip(block, _shortlists(block, k, table, vectors, longest), strict=True):
            found.append(ranking.rank(query, table.numbers[places], vectors[places], k))
    return found


def _shortlists(queries: Vectors, k: int, table: Rows, vectors: Vectors, longest: float) -> list[Places]:
    """For each query, all places that can be among its `k` best, and few others.

    After a block of rows a query knows a score that `k` rows reach: what lies below it by more than two float32
    products can be wrong is not among the best, so of the later blocks only a handful of scores is kept.
    """
    lists = [_Shortlist(k, ranking.margin(query, longest)) for query in queries]
    step = max(1, _SCORES // len(queries))
    room = np.empty((len(queries), min(step, len(table))), np.float32)
    for start in (0, *range(min(step, _FIRST), len(table), step)):
        stop = start + step if start else min(step, _FIRST)
        part = vectors[start:stop]
        # The room is one contiguous array, as BLAS wants it; the first block and the last are smaller.
        scores = np.matmul(queries, part.T, out=room if len(part) == room.shape[1] else None)
        if table.num_dead:
            scores[:, ~table.alive[start:stop]] = -np.inf
        if start == 0:
            for each, row in zip(lists, scores, strict=True):
                each.add(ranking.shortlist(row, k, each.slack), row, start)
            continue
        is_good = scores >= np.array([[each.cut] for each in lists], np.float32)
        for place in np.flatnonzero(is_good.any(axis=1)):
            lists[place].add(np.flatnonzero(is_good[place]), scores[place], start)
    return [each.places() for each in lists]


class _Shortlist:
    """What one query has kept so far, and below which score it looks at no row."""

    def __init__(self, k: int, slack: float) -> None:
        self.slack = slack
        self.cut = float(np.finfo(np.float32).min)  # above the -inf of dead rows
        self._k = k
        self._places: list[Places] = []
        self._scores: list[Vectors] = []
        self._best = np.empty(0, np.float32)

    def add(self, columns: Places, scores: Vectors, start: int) -> None:
        """Keep these columns of a block whose first row is `start`."""
        found, k = scores[columns], self._k
        self._places.append(columns + start)
        self._scores.append(found)
        best = np.concatenate([self._best, found])
        self._best = best if len(best) <= k else np.partition(best, len(best) - k)[len(best) - k :]
        if len(self._best) == k:
            self.cut = float(self._best.min()) - self.slack

    def places(self) -> Places:
        """Ascending."""
        return np.concatenate(self._places)[np.concatenate(self._scores) >= self.cut]
