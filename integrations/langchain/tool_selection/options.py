"""The options of a tool selection, checked once; what each means is said by `RagToolSelectorMiddleware`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from integrations.langchain.tool_selection.query import ToolQuery
from integrations.langchain.tool_selection.stickiness import STICKINESS, Stickiness
from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name
from rag_embedder.search import check_k
from rag_embedder.texts import check_texts

OnEmpty = Literal["all", "none"]
OnError = Literal["raise", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionOptions:
    """See `RagToolSelectorMiddleware`.

    Raises:
        ConfigError: for an unknown value, or options that do not go together.
        InputError: if `max_tools` is not an int from 1 to 10,000, or `always_include` no list of names.
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
        check_k(self.max_tools)
        check_texts(self.always_include, field="always_include")
        if not isinstance(self.num_turns, int) or self.num_turns < 1:
            raise ConfigError(f"num_turns: got {self.num_turns!r}; expected an int of at least 1.")
        if self.max_shown is None:
            return
        if self.stickiness != "thread":
            raise ConfigError(f"max_shown was given with stickiness={self.stickiness!r}; expected stickiness='thread'.")
        if not isinstance(self.max_shown, int) or self.max_shown < self.max_tools:
            raise ConfigError(
                f"max_shown: got {self.max_shown!r}; expected an int of at least max_tools ({self.max_tools})."
            )
