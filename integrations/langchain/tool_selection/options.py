"""The options of a tool selection, checked once; what each means is said by `RagToolSelectorMiddleware`."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from integrations.langchain.tool_selection.query import ToolQuery
from integrations.langchain.tool_selection.stickiness import STICKINESS, Stickiness
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.registry import unknown_name
from rag_embedder.retrievers.memory_checks import check_score_threshold
from rag_embedder.search import MAX_K
from rag_embedder.texts import check_texts

OnEmpty = Literal["all", "none"]
OnError = Literal["raise", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionOptions:
    """See `RagToolSelectorMiddleware`.

    Raises:
        ConfigError: for an unknown value, or options that do not go together.
        InputError: if `max_tools` is not an int from 1 to 10,000, `score_threshold` neither None nor a finite number,
            or `always_include` no list of names.
    """

    max_tools: int
    always_include: Sequence[str]
    stickiness: Stickiness
    max_shown: int | None
    num_turns: int
    query: ToolQuery | None
    score_threshold: float | None
    on_empty: OnEmpty
    on_error: OnError
    only_deferred: bool

    def __post_init__(self) -> None:
        for option, value, known in [
            ("stickiness", self.stickiness, STICKINESS),
            ("on_empty", self.on_empty, ("all", "none")),
            ("on_error", self.on_error, ("raise", "all")),
        ]:
            if value not in known:
                raise unknown_name(option, value, list(known))
        if not _is_int(self.max_tools) or not 1 <= self.max_tools <= MAX_K:
            raise InputError(f"max_tools: got {self.max_tools!r}; expected an int from 1 to {MAX_K}.")
        check_texts(self.always_include, field="always_include")
        check_score_threshold(self.score_threshold)
        check_flag("only_deferred", self.only_deferred)
        if self.query is not None and not callable(self.query):
            raise ConfigError(
                f"query: got {type(self.query).__name__}; expected a function that makes the text to search tools with "
                "from the messages, or None for the user's last messages."
            )
        if not _is_int(self.num_turns) or self.num_turns < 1:
            raise ConfigError(f"num_turns: got {self.num_turns!r}; expected an int of at least 1.")
        if self.max_shown is None:
            return
        if self.stickiness != "thread":
            raise ConfigError(f"max_shown was given with stickiness={self.stickiness!r}; expected stickiness='thread'.")
        if not _is_int(self.max_shown) or self.max_shown < self.max_tools:
            raise ConfigError(
                f"max_shown: got {self.max_shown!r}; expected an int of at least max_tools ({self.max_tools})."
            )


def check_flag(option: str, value: object) -> None:
    """Raise ConfigError for what is neither True nor False: "no" would count as True."""
    if not isinstance(value, bool):
        raise ConfigError(f"{option}: got {value!r}; expected True or False.")


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
