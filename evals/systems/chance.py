"""The two ends of the scale: a random order, and the best order there is."""

import hashlib
import time
from collections.abc import Mapping, Sequence

import numpy as np

from evals.records import EvaluationSet, Query
from evals.systems import Ranking
from evals.systems.texts import groups_of


class RandomSystem:
    """Documents in a random order, its own for every query, the same in every run."""

    name = "random"
    fingerprint = "random/1"

    def describe(self) -> Mapping[str, str]:
        """The floor."""
        return {"kind": "random order, seeded by the query's id"}

    def index(self, evaluation_set: EvaluationSet, *, use_cache: bool = True) -> "ChanceIndex":
        """Only the ids are read."""
        del use_cache
        return ChanceIndex(evaluation_set, knows_judgements=False)


class OracleSystem:
    """The judged documents first, the most relevant at the top, then a random order."""

    name = "oracle"
    fingerprint = "oracle/1"

    def describe(self) -> Mapping[str, str]:
        """The ceiling: below 1 where a query has more relevant documents than are counted."""
        return {"kind": "judged documents first: the ceiling of every metric"}

    def index(self, evaluation_set: EvaluationSet, *, use_cache: bool = True) -> "ChanceIndex":
        """Ids and judgements are read."""
        del use_cache
        return ChanceIndex(evaluation_set, knows_judgements=True)


class ChanceIndex:
    """The ids of one set by group, and what was judged."""

    def __init__(self, evaluation_set: EvaluationSet, *, knows_judgements: bool) -> None:
        self._ids = {
            g: [evaluation_set.documents[p].id or "" for p in ps] for g, ps in groups_of(evaluation_set).items()
        }
        self._qrels = evaluation_set.qrels if knows_judgements else {}
        self.num_bytes = 0
        self.seconds = {"searching": 0.0}

    def search(self, queries: Sequence[Query], k: int) -> list[Ranking]:
        """`k` documents of the query's group; scores fall by one."""
        start = time.perf_counter()
        rankings: list[Ranking] = [self._order(query, k) for query in queries]
        self.seconds["searching"] += time.perf_counter() - start
        return rankings

    def _order(self, query: Query, k: int) -> Ranking:
        ids = self._ids.get(query.within, [])
        judged = {id_: score for id_, score in self._qrels.get(query.id, {}).items() if score > 0}
        first = sorted(judged, key=lambda id_: (-judged[id_], id_))[:k]
        seed = int.from_bytes(hashlib.sha256(query.id.encode()).digest()[:8], "big")
        # enough of them that k are left when the judged ones are taken out
        drawn = np.random.default_rng(seed).permutation(len(ids))[: k + len(judged)]
        others = [ids[n] for n in drawn if ids[n] not in judged]
        chosen = [*first, *others][:k]
        return [(id_, float(len(chosen) - rank)) for rank, id_ in enumerate(chosen)]
