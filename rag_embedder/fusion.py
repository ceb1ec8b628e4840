"""Reciprocal rank fusion: several rankings of the same documents become one, by rank alone.

score(d) = sum over the rankings that hold d of 1 / (rank_constant + rank of d), ranks counted from 1
(Cormack, Clarke and Büttcher, SIGIR 2009, who found rank_constant = 60 by experiment).
"""

import math
from collections.abc import Sequence

import numpy as np

from rag_embedder.errors import InputError
from rag_embedder.protocols import Neighbours


def reciprocal_rank_fusion(rankings: Sequence[Neighbours], k: int, *, rank_constant: int = 60) -> Neighbours:
    """The `k` best numbers over all rankings, best first; ties by number. Scores of the input are not read.

    Raises:
        InputError: if `k` is below 1 or `rank_constant` is negative.
    """
    if k < 1:
        raise InputError(f"k is {k}; expected 1 or more: ask for at least one result.")
    if rank_constant < 0:
        raise InputError(f"rank_constant is {rank_constant}; expected 0 or more: 60 is the published value.")
    shares: dict[int, list[float]] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking.numbers.tolist(), start=1):
            shares.setdefault(number, []).append(1.0 / (rank_constant + rank))
    # fsum rounds once, so the same ranks give the same score in whatever order the rankings come
    fused = sorted((-math.fsum(parts), number) for number, parts in shares.items())[:k]
    return Neighbours(
        numbers=np.array([number for _, number in fused], dtype=np.int64),
        scores=np.array([-negated for negated, _ in fused], dtype=np.float32),
    )
