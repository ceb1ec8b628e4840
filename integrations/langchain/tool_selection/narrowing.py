"""From the request of a model call to the same with fewer tools, and what its thread has now been shown."""

import logging
from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware import ModelRequest
from langchain_core.tools import BaseTool

from integrations.langchain.tool_selection.index import RequestedTools
from integrations.langchain.tool_selection.marks import is_deferred, named_by, undeferred
from integrations.langchain.tool_selection.options import SelectionOptions
from integrations.langchain.tool_selection.query import last_requests, turn_of
from integrations.langchain.tool_selection.serving import RegistryTools
from integrations.langchain.tool_selection.stickiness import Shown, read_shown
from rag_embedder.errors import InputError, RagEmbedderError
from rag_embedder.retrievers.entries import is_blank
from rag_embedder.texts import check_text

_LOG = logging.getLogger(__name__)


class ToolNarrowing:
    """Chooses tools for one middleware; holds no state of any conversation, so that it can be shared.

    Args:
        search: ranks tools; a registry may also serve some that a request does not bring along.
        options: see `RagToolSelectorMiddleware`.
        name: of the middleware, under which a thread's state is read.
    """

    def __init__(self, search: RequestedTools | RegistryTools, options: SelectionOptions, name: str) -> None:
        self._search = search
        self._registry = search if isinstance(search, RegistryTools) else None
        self._options = options
        self._always_include = tuple(dict.fromkeys(options.always_include))
        self._name = name

    def narrow(self, request: ModelRequest[Any]) -> tuple[ModelRequest[Any], Shown | None]:
        """The request with the tools to show, and what the thread has been shown if that has changed.

        Raises:
            InputError: if a tool always to be included does not exist, or one to be served cannot be run.
        """
        bound = [tool for tool in request.tools if not isinstance(tool, dict)]
        fixed = self._always_shown(request, bound)
        candidates = [tool for tool in bound if tool.name not in fixed]
        serves = self._registry is not None and self._registry.serve_unbound
        if not serves and self._options.score_threshold is None and len(candidates) <= self._options.max_tools:
            if not self._options.only_deferred:
                return request, None
            return request.override(tools=[undeferred(tool) for tool in request.tools]), None
        before = read_shown(request.state, self._name)
        chosen, shown = self._choose(request, candidates, before)
        tools = self._presented(request.tools, fixed, chosen)
        self._log(bound, tools)
        return request.override(tools=tools), None if shown == before else shown

    def _always_shown(self, request: ModelRequest[Any], bound: Sequence[BaseTool]) -> set[str]:
        """Names of the tools that need not be chosen; among them, one that the model is told to call."""
        names = {tool.name for tool in bound}
        absent = [name for name in self._always_include if name not in names]
        if absent and self._registry is not None:
            served = {tool.name for tool in self._registry.serve(absent)}
            absent = [name for name in absent if name not in served]
        if absent:
            raise InputError(
                f"always_include: no tool is named {', '.join(map(repr, absent))}; expected some of: "
                f"{', '.join(sorted(names)) or '(the agent has no tools)'}."
            )
        fixed = {*self._always_include, *named_by(request.tool_choice)}
        if self._registry is not None:
            fixed |= names - self._registry.known(sorted(names))
        if self._options.only_deferred:
            fixed |= {tool.name for tool in bound if not is_deferred(tool)}
        return fixed

    def _choose(
        self, request: ModelRequest[Any], candidates: Sequence[BaseTool], before: Shown | None
    ) -> tuple[Sequence[str], Shown | None]:
        """Names of the tools to show, in order, and what the thread has been shown with them."""
        options = self._options
        turn = turn_of(request.messages)
        if before is not None and options.stickiness != "none" and turn in (None, before.turn):
            return before.names, before
        everything = [tool.name for tool in candidates]
        text = self._text(request)
        if is_blank(text):
            if before is not None and options.stickiness == "thread":
                return before.names, before
            return everything if options.on_empty == "all" else [], before
        try:
            ranked = self._search.rank(text, candidates, options.max_tools, options.score_threshold)
        except (RagEmbedderError, RuntimeError, OSError) as fault:
            if options.on_error == "raise":
                raise
            _LOG.warning("%s: choosing tools failed, all are shown", self._name, exc_info=fault)
            return everything, before
        # Tools of the agent in its order, then those served, by name: the same choice always looks the same.
        place = {name: position for position, name in enumerate(everything)}
        chosen = sorted(ranked, key=lambda name: (place.get(name, len(place)), name))
        chosen = [name for name in chosen if name not in self._always_include]
        if options.stickiness == "none":
            return chosen, before
        earlier = before if before is not None and options.stickiness == "thread" else Shown(turn, ())
        shown = earlier.followed_by(turn, chosen, options.max_shown)
        return shown.names, shown

    def _text(self, request: ModelRequest[Any]) -> str:
        if self._options.query is None:
            return last_requests(request.messages, self._options.num_turns, self._search.reads_whole)
        return check_text(self._options.query(request.messages), field="query(messages)")

    def _presented(
        self, tools: Sequence[BaseTool | dict[str, Any]], fixed: set[str], chosen: Sequence[str]
    ) -> list[BaseTool | dict[str, Any]]:
        wanted = list(dict.fromkeys([*self._always_include, *chosen]))
        by_name = {tool.name: tool for tool in tools if not isinstance(tool, dict)}
        unbound = [name for name in wanted if name not in by_name]
        if unbound and self._registry is not None:
            by_name |= {tool.name: tool for tool in self._registry.serve(unbound)}
        # What a thread has been shown comes last, in the order it came: whatever is added can only be at the end.
        first = fixed if self._options.stickiness == "thread" else {*fixed, *chosen}
        shown = [tool for tool in tools if isinstance(tool, dict) or tool.name in first]
        present = {tool.name for tool in shown if not isinstance(tool, dict)}
        shown += [by_name[name] for name in wanted if name not in present and name in by_name]
        return [undeferred(tool) for tool in shown] if self._options.only_deferred else shown

    def _log(self, bound: Sequence[BaseTool], shown: Sequence[BaseTool | dict[str, Any]]) -> None:
        if not _LOG.isEnabledFor(logging.DEBUG):
            return
        own = [tool for tool in shown if not isinstance(tool, dict)]
        tokens = self._search.schema_tokens(own), self._search.schema_tokens(bound)
        _LOG.debug(
            "%s: %d tools shown, %d bound; their schemas take %d and %d tokens",
            self._name,
            len(own),
            len(bound),
            *tokens,
        )
