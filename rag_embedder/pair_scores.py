"""What a second stage asks of a model that reads query and text together, and what it makes of the answer."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rag_embedder.errors import ConfigError, InputError


def check_pair_scorer(scorer: object, *, field: str = "reranker") -> None:
    """Raise ConfigError for what cannot score pairs, such as a path in the model's place."""
    if isinstance(scorer, type) or not callable(getattr(scorer, "score_pairs", None)):
        came = scorer.__name__ if isinstance(scorer, type) else type(scorer).__name__
        raise ConfigError(f"{field}: got {came}; expected a Reranker, such as Reranker.load(FOLDER).")


def checked_scores(scores: object, num_pairs: int, *, whose: str) -> npt.NDArray[np.float64]:
    """One finite number per pair, shape (num_pairs,); a column of one, as regression heads give it, is flattened.

    Raises:
        InputError: for anything else, saying `whose` answer it was.
    """
    try:
        given: npt.NDArray[Any] = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{whose} gave {type(scores).__name__}; expected one number for each text.") from None
    if given.shape == (num_pairs, 1):
        given = given[:, 0]
    if given.shape != (num_pairs,):
        raise InputError(
            f"{whose} gave scores of shape {given.shape} for {num_pairs} texts; expected ({num_pairs},): one number "
            "for each. A classifier with several labels cannot rerank."
        )
    if not np.isfinite(given).all():
        position = int(np.flatnonzero(~np.isfinite(given))[0])
        raise InputError(f"{whose} gave a score that is not finite for texts[{position}]; expected a finite number.")
    return given


def best_first(scores: npt.NDArray[np.floating[Any]], k: int | None = None) -> list[int]:
    """Positions of the `k` highest scores, all for None, highest first; equal scores stay in the order given."""
    return [int(position) for position in np.argsort(-scores, kind="stable")[:k]]
