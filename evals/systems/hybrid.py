"""An encoder fused with BM25 by reciprocal rank, as our retrievers do in hybrid mode."""

from collections.abc import Mapping, Sequence

import numpy as np

from evals.records import EvaluationSet, Query
from evals.systems import Ranking, System, SystemIndex
from evals.systems.bm25 import BM25System
from rag_embedder.fusion import reciprocal_rank_fusion
from rag_embedder.protocols import Neighbours

DEPTH = 100
"""How deep each ranking is read, as in `rag_embedder.search`."""


class HybridSystem:
    """Fuses any system with BM25."""

    def __init__(self, other: System) -> None:
        self._other = other
        self._bm25 = BM25System()
        self.name = f"hybrid:{other.name}"

    @property
    def fingerprint(self) -> str:
        """Those of both."""
        return f"hybrid/{self._bm25.fingerprint}/{self._other.fingerprint}"

    def describe(self) -> Mapping[str, str]:
        """What is fused."""
        return {**self._other.describe(), "kind": "reciprocal rank fusion of an encoder and BM25"}

    def index(self, evaluation_set: EvaluationSet, *, use_cache: bool = True) -> "HybridIndex":
        """Both indexes."""
        other = self._other.index(evaluation_set, use_cache=use_cache)
        return HybridIndex(other, self._bm25.index(evaluation_set), evaluation_set)


class HybridIndex:
    """Two indexes over the same documents."""

    def __init__(self, one: SystemIndex, other: SystemIndex, evaluation_set: EvaluationSet) -> None:
        self._indexes = (one, other)
        self._ids = sorted(document.id or "" for document in evaluation_set.documents)
        self._numbers = {id_: number for number, id_ in enumerate(self._ids)}

    @property
    def num_bytes(self) -> int:
        """Both."""
        return sum(index.num_bytes for index in self._indexes)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Both, by step."""
        steps = {step for index in self._indexes for step in index.seconds}
        return {step: sum(index.seconds.get(step, 0.0) for index in self._indexes) for step in steps}

    def search(self, queries: Sequence[Query], k: int) -> list[Ranking]:
        """Ties by id."""
        answers = [index.search(queries, max(k, DEPTH)) for index in self._indexes]
        rankings: list[Ranking] = []
        for pair in zip(*answers, strict=True):
            fused = reciprocal_rank_fusion([self._neighbours(ranking) for ranking in pair], k)
            rankings.append([(self._ids[n], float(s)) for n, s in zip(fused.numbers, fused.scores, strict=True)])
        return rankings

    def _neighbours(self, ranking: Ranking) -> Neighbours:
        numbers = np.array([self._numbers[id_] for id_, _ in ranking], dtype=np.int64)
        return Neighbours(numbers, np.array([score for _, score in ranking], dtype=np.float32))
