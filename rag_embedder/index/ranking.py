"""The one place that decides scores and order, so that every back-end gives the same answer to the last bit.

Back-ends find candidates in whatever way is fast; the candidates are then scored here in float64.
"""

import numpy as np
from numpy.typing import NDArray

from rag_embedder.protocols import Neighbours
from rag_embedder.types import Numbers, Vectors

_BLOCK = 4096
_EPSILON = float(np.finfo(np.float32).eps)


def nothing() -> Neighbours:
    """The answer of an empty index."""
    return Neighbours(np.empty(0, np.int64), np.empty(0, np.float32))


def exact_scores(query: Vectors, vectors: Vectors) -> Vectors:
    """Inner products of `query` (dim,) with each row of `vectors` (n, dim), computed in float64, shape (n,) float32.

    Each row is summed by itself: equal rows get equal scores wherever they stand, which BLAS does not promise.
    """
    wide = query.astype(np.float64)
    scores = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float64)
        scores[start : start + _BLOCK] = np.multiply(block, wide, out=block).sum(axis=1)
    return scores


def rank(query: Vectors, numbers: Numbers, vectors: Vectors, k: int) -> Neighbours:
    """The `k` best candidates by score, equal scores by row number; `numbers` (n,), `vectors` (n, dim)."""
    scores = exact_scores(query, vectors)
    order = np.lexsort((numbers, -scores))[:k]
    return Neighbours(numbers[order], scores[order])


def merge(first: Neighbours, second: Neighbours, k: int) -> Neighbours:
    """The `k` best of two answers to one query over different rows."""
    numbers = np.concatenate([first.numbers, second.numbers])
    scores = np.concatenate([first.scores, second.scores])
    order = np.lexsort((numbers, -scores))[:k]
    return Neighbours(numbers[order], scores[order])


def margin(query: Vectors, longest: float) -> float:
    """Largest error of a float32 inner product of `query` with a row of at most length `longest`.

    Twice the bound dim * eps * |x| * |y| (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), since
    two scores are compared.
    """
    return 2.0 * len(query) * _EPSILON * float(np.linalg.norm(query)) * longest + 1e-12


def shortlist(approximate: Vectors, k: int, slack: float) -> NDArray[np.int64]:
    """Places of all rows that can be among the `k` best when `approximate` (n,) may be wrong by `slack`.

    Rows at -inf are never taken.
    """
    if k >= len(approximate):
        return np.flatnonzero(approximate > -np.inf)
    cut = np.partition(approximate, len(approximate) - k)[len(approximate) - k]
    return np.flatnonzero((approximate >= cut - slack) & (approximate > -np.inf))
