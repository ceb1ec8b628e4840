"""What a memory may be asked and told: refused with what was expected, before anything is read or written."""

from math import isfinite

from rag_embedder.errors import InputError, UserRequiredError
from rag_embedder.store.json_values import check_id

_MAX_NAME = 400
"""Characters of a session or source; ids are made from them."""


def check_user(user: object) -> None:
    """Raise UserRequiredError unless a user is named."""
    if not isinstance(user, str) or not user:
        raise UserRequiredError(
            f"user: got {user!r}; expected a non-empty str. Memories are never read or written without their user."
        )
    check_id(user, "user")


def check_name(name: object, field: str) -> None:
    """Raise InputError unless a session or source can be a name."""
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME:
        got = f"a str of {len(name)} characters" if isinstance(name, str) else type(name).__name__
        raise InputError(f"{field}: got {got}; expected a str of 1 to {_MAX_NAME} characters.")
    check_id(name, field)


def check_recency(recency: object) -> None:
    """Raise InputError unless the share of recency is a number from 0 to 1."""
    if isinstance(recency, bool) or not isinstance(recency, int | float) or not 0.0 <= recency <= 1.0:
        raise InputError(f"recency: got {recency!r}; expected a number from 0 to 1.")


def check_score_threshold(score_threshold: object) -> None:
    """Raise InputError unless a threshold is None or a number."""
    if score_threshold is None:
        return
    if (
        not isinstance(score_threshold, int | float)
        or isinstance(score_threshold, bool)
        or not isfinite(score_threshold)
    ):
        raise InputError(f"score_threshold: got {score_threshold!r}; expected None or a number.")
