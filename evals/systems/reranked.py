"""Two stages: any system finds, a reranker orders the best of what it found, as our retrievers do with `reranker=`."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from evals.records import EvaluationSet, Query
from evals.systems import Ranking, System, SystemIndex
from evals.systems.texts import document_text, query_text
from rag_embedder.pair_scores import best_first

if TYPE_CHECKING:
    from rag_embedder import Reranker

DEPTH = 100
"""How many of the first stage's documents are read with the query."""


class RerankedSystem:
    """The first `depth` documents of another system by a reranker's score; those after them keep their order."""

    def __init__(self, first: System, reranker: "Reranker", *, depth: int = DEPTH) -> None:
        self._first = first
        self._reranker = reranker
        self._depth = depth
        self.name = f"rerank:{reranker.name}:{first.name}"

    @property
    def fingerprint(self) -> str:
        """Those of both, and how many are read."""
        return f"rerank/{self._depth}/{self._reranker.fingerprint}/{self._first.fingerprint}"

    def describe(self) -> Mapping[str, str]:
        """What finds and what orders."""
        reranker = self._reranker
        first = self._first.describe()
        form = f"template {reranker.template}, {reranker.max_length} tokens, {reranker.dtype}"
        return {
            **first,
            "kind": f"{first['kind']}, then a reranker",
            "reranker": f"{reranker.name}, {form}",
            "reranked": str(self._depth),
        }

    def index(self, evaluation_set: EvaluationSet, *, use_cache: bool = True) -> "RerankedIndex":
        """That of the first stage; a reranker has none."""
        first = self._first.index(evaluation_set, use_cache=use_cache)
        return RerankedIndex(first, self._reranker, evaluation_set, depth=self._depth)


class RerankedIndex:
    """The first stage's index, and the texts that the second reads."""

    def __init__(self, first: SystemIndex, reranker: "Reranker", evaluation_set: EvaluationSet, *, depth: int) -> None:
        self._first = first
        self._reranker = reranker
        self._depth = depth
        self._scenario = evaluation_set.scenario
        self._texts = {document.id or "": document_text(document) for document in evaluation_set.documents}
        self._seconds = 0.0

    @property
    def num_bytes(self) -> int:
        """That of the first stage."""
        return self._first.num_bytes

    @property
    def seconds(self) -> Mapping[str, float]:
        """Those of the first stage; reranking is searching."""
        seconds = dict(self._first.seconds)
        seconds["searching"] = seconds.get("searching", 0.0) + self._seconds
        return seconds

    def search(self, queries: Sequence[Query], k: int) -> list[Ranking]:
        """All queries' pairs are scored together; equal scores stay in the first stage's order.

        Raises:
            InputError: for a query that leaves the reranker no room for a text.
        """
        found = self._first.search(queries, max(k, self._depth))
        start = time.perf_counter()
        texts = [query_text(query, self._scenario, self._reranker.leaves_room) for query in queries]
        pairs = [
            (text, self._texts[id_])
            for text, ranking in zip(texts, found, strict=True)
            for id_, _ in ranking[: self._depth]
        ]
        scores = self._reranker.score_pairs(pairs)
        rankings: list[Ranking] = []
        first = 0
        for ranking in found:
            own = scores[first : first + len(ranking[: self._depth])]
            first += len(own)
            read: Ranking = [(ranking[place][0], float(own[place])) for place in best_first(own)]
            # Below all that was read, whatever the scale of the first stage's scores.
            lowest = read[-1][1] if read else 0.0
            unread = [(id_, lowest - 1 - place) for place, (id_, _) in enumerate(ranking[self._depth :])]
            rankings.append([*read, *unread][:k])
        self._seconds += time.perf_counter() - start
        return rankings
