"""A reranker over what was found first: deeper than asked for, ordered anew, then cut."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from rag_embedder.errors import ConfigError
from rag_embedder.pair_scores import best_first, check_pair_scorer, checked_scores
from rag_embedder.protocols import PairScorer
from rag_embedder.search import MAX_K, Found
from rag_embedder.store import StoredItem

RERANK_DEPTH = 50
"""How many of the first stage's best are read with the query."""


class SecondStage:
    """Orders candidates by a reranker; without one, leaves them as they are.

    The reranker is only given what the first stage found, so filters, users and sessions hold for it too.

    Raises:
        ConfigError: for a reranker that is none, or a depth that is no int from 1 to 10,000.
    """

    def __init__(self, reranker: PairScorer | None, depth: int) -> None:
        if reranker is not None:
            check_pair_scorer(reranker)
        if not isinstance(depth, int) or isinstance(depth, bool) or not 1 <= depth <= MAX_K:
            raise ConfigError(f"rerank_depth: got {depth!r}; expected an int from 1 to {MAX_K}.")
        self._reranker = reranker
        self._depth = depth

    def __bool__(self) -> bool:
        return self._reranker is not None

    def depth(self, k: int) -> int:
        """How many candidates the first stage must find for `k` hits."""
        return max(k, self._depth) if self else k

    def order(
        self, queries: Sequence[str], rankings: Sequence[Sequence[Found]], text_of: Callable[[StoredItem], str]
    ) -> list[list[Found]]:
        """The candidates of each query by the reranker's score, best first; equal scores in the first stage's order.

        All pairs are scored in one call. The scores of the first stage stay, as `retrieval_score`.

        Raises:
            InputError: if the reranker does not give one finite number per pair.
        """
        if self._reranker is None:
            return [list(ranking) for ranking in rankings]
        pairs = [
            (query, text_of(found.item)) for query, ranking in zip(queries, rankings, strict=True) for found in ranking
        ]
        if not pairs:
            return [[] for _ in rankings]
        whose = type(self._reranker).__name__
        scores = checked_scores(self._reranker.score_pairs(pairs), len(pairs), whose=whose)
        ordered, first = [], 0
        for ranking in rankings:
            own = scores[first : first + len(ranking)]
            first += len(ranking)
            ordered.append(
                [
                    replace(ranking[place], score=float(own[place]), retrieval_score=ranking[place].score)
                    for place in best_first(own)
                ]
            )
        return ordered

    def fits(self, query: str) -> bool:
        """Whether a query leaves the reranker enough room for a text; True for one that does not tell."""
        leaves_room = getattr(self._reranker, "leaves_room", None)
        return leaves_room is None or leaves_room(query)
