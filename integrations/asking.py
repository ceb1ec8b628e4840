"""Calling any of our retrievers with the options a framework's caller gave, and only with those it knows."""

import inspect
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from rag_embedder.errors import ConfigError, InputError, UserRequiredError
from rag_embedder.types import Hit


class Retriever(Protocol):
    """What the five retrievers have in common; each has more options of its own."""

    def retrieve(self, query: Any, /, k: int = 5) -> list[Hit[Any]]:  # noqa: ANN401  (text or dialogue)
        """The `k` best hits, best first."""
        ...

    def aretrieve(self, query: Any, /, k: int = 5) -> Awaitable[list[Hit[Any]]]:  # noqa: ANN401
        """The same, off the event loop."""
        ...


def check_retriever(retriever: object) -> None:
    """Raise ConfigError for what is no retriever of ours, such as an embedder or a framework's own retriever."""
    if not all(callable(getattr(retriever, name, None)) for name in ("retrieve", "aretrieve")):
        raise ConfigError(
            f"retriever: got {type(retriever).__name__}; expected a retriever of rag_embedder, such as "
            "KnowledgeRetriever(embedder)."
        )


def options_for(retriever: Any, also: Sequence[str] = (), /, **given: Any) -> dict[str, Any]:  # noqa: ANN401
    """The options that are not None, as keyword arguments of `retriever.retrieve`.

    `also` names options that the adapter itself knows, for the message only.

    Raises:
        InputError: for an option this retriever does not know, such as `filter` for memories: dropping it silently
            would return what the caller wanted kept out.
    """
    options = {name: value for name, value in given.items() if value is not None}
    known = list(inspect.signature(retriever.retrieve).parameters)[1:]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(
            f"{type(retriever).__name__} has no option {', '.join(map(repr, unknown))}; expected: "
            f"{', '.join([*known, *also])}."
        )
    return options


def check_user(retriever: Any, options: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Raise UserRequiredError if this retriever asks for a user and the options name none."""
    user = inspect.signature(retriever.retrieve).parameters.get("user")
    if user is not None and user.default is user.empty and "user" not in options:
        raise UserRequiredError(
            f"{type(retriever).__name__} needs user=..., whose memories are searched; got none. Give it to the adapter "
            "or to the call."
        )


def above(hits: Sequence[Hit[Any]], score_threshold: float | None) -> list[Hit[Any]]:
    """The hits whose score is at least the threshold; all of them without one."""
    if score_threshold is None:
        return list(hits)
    return [hit for hit in hits if hit.score >= score_threshold]
