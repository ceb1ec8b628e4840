"""Ordering texts anew for one query, by our encoder or by a model that reads query and text together."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np

from rag_embedder.errors import ConfigError
from rag_embedder.index.ranking import exact_scores
from rag_embedder.pair_scores import best_first, checked_scores
from rag_embedder.protocols import PairScorer, TextEncoder
from rag_embedder.retrievers.base import in_thread
from rag_embedder.retrievers.entries import is_blank
from rag_embedder.search import check_encoder, check_k
from rag_embedder.texts import check_text, check_texts


class Scorer(Protocol):
    """A model that reads query and text together: the shape of LangChain's `BaseCrossEncoder`."""

    def score(self, pairs: list[tuple[str, str]], /) -> Sequence[float]:
        """One number for each (query, text) pair, higher for a better match."""
        ...


class Predictor(Protocol):
    """The same as sentence-transformers' `CrossEncoder` names it."""

    def predict(self, pairs: list[tuple[str, str]], /) -> Any:  # noqa: ANN401  (an array, tensor or list)
        """One number for each (query, text) pair, higher for a better match."""
        ...


AnyScorer = TextEncoder | PairScorer | Scorer | Predictor
"""What can rerank: an `Embedder`, a `Reranker`, or an object with `score` or `predict` for (query, text) pairs."""

_METHODS = ("score_pairs", "score", "predict")
"""How a model for pairs is asked, in this order: a `Reranker`'s own `score` takes a query and texts."""


def check_scorer(scorer: object, scenario: str) -> None:
    """Raise ConfigError for what cannot rerank, or for a scenario that its encoder does not know."""
    if _is_encoder(scorer):
        check_encoder(scorer, scenario)
    elif isinstance(scorer, type) or not any(callable(getattr(scorer, name, None)) for name in _METHODS):
        came = scorer.__name__ if isinstance(scorer, type) else type(scorer).__name__
        raise ConfigError(
            f"scorer: got {came}; expected an Embedder, a Reranker, or an object whose score(pairs) or predict(pairs) "
            "gives one number for each (query, text) pair, such as another library's cross-encoder."
        )


def rerank(
    query: str, texts: Sequence[str], *, scorer: AnyScorer, scenario: str = "qa", k: int | None = None
) -> list[tuple[int, float]]:
    """Positions in `texts` with their scores, best first; equal scores stay in the order given.

    With an encoder, a score is the cosine of the query, encoded as a query, with the text, encoded as a document, both
    for `scenario`. Any other scorer is asked once, with all pairs; its scores are on its own scale.

    An empty query, as agents send it, matches nothing: the answer is empty, and the scorer is not asked.

    Raises:
        ConfigError: for a scorer that is none, or an unknown scenario.
        InvalidTextError: for a query or text that is not a string, with its position.
        InputError: for a `k` that is no int from 1 to 10,000, or scores that are not one finite number for each text.
    """
    check_scorer(scorer, scenario)
    if k is not None:
        check_k(k)
    query, texts = check_text(query, field="query"), check_texts(texts)
    if not texts or is_blank(query):
        return []
    scores = _scores(query, texts, scorer, scenario)
    return [(position, float(scores[position])) for position in best_first(scores, k)]


async def arerank(
    query: str, texts: Sequence[str], *, scorer: AnyScorer, scenario: str = "qa", k: int | None = None
) -> list[tuple[int, float]]:
    """`rerank` off the event loop."""
    return await in_thread(lambda: rerank(query, texts, scorer=scorer, scenario=scenario, k=k))


def _is_encoder(scorer: object) -> TypeGuard[TextEncoder]:
    return not isinstance(scorer, type) and callable(getattr(scorer, "encode_queries", None))


def _scores(query: str, texts: list[str], scorer: AnyScorer, scenario: str) -> np.ndarray[Any, Any]:
    """Scores of the texts in their order, shape (n,)."""
    if _is_encoder(scorer):
        (vector,) = scorer.encode_queries([query], scenario)
        scores: Any = exact_scores(vector, scorer.encode_documents(texts, scenario))
    else:
        ask = next(getattr(scorer, name) for name in _METHODS if callable(getattr(scorer, name, None)))
        scores = ask([(query, text) for text in texts])
    return checked_scores(scores, len(texts), whose=type(scorer).__name__)
