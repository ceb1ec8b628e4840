"""Ordering texts anew for one query, by our encoder or by a model that reads query and text together."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np

from rag_embedder.errors import ConfigError, InputError
from rag_embedder.index.ranking import exact_scores
from rag_embedder.protocols import TextEncoder
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


AnyScorer = TextEncoder | Scorer | Predictor
"""What can rerank: an `Embedder`, or an object with `score` or `predict` for (query, text) pairs."""


def check_scorer(scorer: object, scenario: str) -> None:
    """Raise ConfigError for what cannot rerank, or for a scenario that its encoder does not know."""
    if _is_encoder(scorer):
        check_encoder(scorer, scenario)
    elif isinstance(scorer, type) or not any(callable(getattr(scorer, name, None)) for name in ("score", "predict")):
        came = scorer.__name__ if isinstance(scorer, type) else type(scorer).__name__
        raise ConfigError(
            f"scorer: got {came}; expected an Embedder, or an object whose score(pairs) or predict(pairs) gives one "
            "number for each (query, text) pair, such as a cross-encoder."
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
    best = np.argsort(-scores, kind="stable")[:k]
    return [(int(position), float(scores[position])) for position in best]


async def arerank(
    query: str, texts: Sequence[str], *, scorer: AnyScorer, scenario: str = "qa", k: int | None = None
) -> list[tuple[int, float]]:
    """`rerank` off the event loop."""
    return await in_thread(lambda: rerank(query, texts, scorer=scorer, scenario=scenario, k=k))


def _is_encoder(scorer: object) -> TypeGuard[TextEncoder]:
    return not isinstance(scorer, type) and callable(getattr(scorer, "encode_queries", None))


def _scores(query: str, texts: list[str], scorer: AnyScorer, scenario: str) -> np.ndarray[Any, Any]:
    """Scores of the texts in their order, float64 or float32, shape (n,)."""
    if _is_encoder(scorer):
        (vector,) = scorer.encode_queries([query], scenario)
        return _checked(exact_scores(vector, scorer.encode_documents(texts, scenario)), len(texts), scorer)
    asked: Any = scorer
    ask = asked.score if callable(getattr(scorer, "score", None)) else asked.predict
    return _checked(ask([(query, text) for text in texts]), len(texts), scorer)


def _checked(scores: object, num_texts: int, scorer: object) -> np.ndarray[Any, Any]:
    whose = type(scorer).__name__
    try:
        given = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{whose} gave {type(scores).__name__}; expected one number for each text.") from None
    if given.shape == (num_texts, 1):  # a cross-encoder with a regression head
        given = given[:, 0]
    if given.shape != (num_texts,):
        raise InputError(
            f"{whose} gave scores of shape {given.shape} for {num_texts} texts; expected ({num_texts},): one number "
            "for each. A classifier with several labels cannot rerank."
        )
    if not np.isfinite(given).all():
        position = int(np.flatnonzero(~np.isfinite(given))[0])
        raise InputError(f"{whose} gave a score that is not finite for texts[{position}]; expected a finite number.")
    return given
