"""`RagToolSelectorMiddleware`: an agent's model is shown the few tools, out of many, that the request needs."""

import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain.agents.middleware import (
    AgentMiddleware,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    ToolCallRequest,
)
from langchain_core.messages import ToolMessage
from langgraph.types import Command

from integrations.langchain.tool_selection.index import RequestedTools
from integrations.langchain.tool_selection.narrowing import ToolNarrowing
from integrations.langchain.tool_selection.options import OnEmpty, OnError, SelectionOptions, check_flag
from integrations.langchain.tool_selection.query import ToolQuery
from integrations.langchain.tool_selection.serving import RegistryTools
from integrations.langchain.tool_selection.stickiness import Shown, Stickiness, ToolSelectionState, write_shown
from integrations.model_loading import load_shared
from rag_embedder import Embedder, ToolRetriever
from rag_embedder.errors import ConfigError
from rag_embedder.retrievers.base import in_thread
from rag_embedder.search import Mode


class RagToolSelectorMiddleware(AgentMiddleware[ToolSelectionState, Any, Any]):
    """Shows the model the tools nearest to the request, without a call of a language model.

    Stands where `LLMToolSelectorMiddleware` stood. Tools stay in the agent's order, tools of the provider (dicts)
    always pass and do not count, and with no more than `max_tools` tools nothing is changed and nothing is encoded.
    One object may serve many agents and threads.

    **This is no permission boundary.** A tool that is not shown is still run if the model names it, as with every
    middleware that narrows tools; with `serve_unbound`, so is every tool of the registry. Keep what must not be run
    out of the agent and out of the registry.

    Args:
        embedder: the encoder; None loads the shipped default. Not with `registry`, which has its own.
        registry: search these tools instead of an index of the request's own tools: one that is kept on disk, say, or
            that changes while the agent runs. Tools bound to the agent that it does not know are always shown.
        serve_unbound: also show, and run, tools of the registry that the agent was not created with.
        max_tools: how many tools are chosen.
        always_include: names of tools that are always shown and do not count.
        stickiness: "none" chooses for each model call; "turn" keeps the choice while one message of the user is
            answered; "thread" never takes a tool back: new ones come after those shown before, so that the beginning
            of the prompt, which providers cache, stays the same. Provider tools and those always shown then come
            first. Both are kept in the agent's state, where a checkpointer saves them.
        max_shown: with "thread": begin again with the current choice when more tools than this would be shown.
        num_turns: how many of the user's last messages the tools are searched with, as one text.
        query: makes that text instead, from the messages of the model call.
        mode: "dense", "hybrid" or "lexical"; None is "dense", or what the registry was made with.
        score_threshold: leave out tools that score less, even where there are no more than `max_tools`.
        on_empty: what is shown when the user has said nothing in words: "all" tools of the agent, or "none" but those
            always shown. Tools that are only in the registry are not part of "all".
        on_error: when the encoder or the store fails, "raise", or show "all" tools of the agent and log a warning.
        only_deferred: choose among the tools with `extras={"defer_loading": True}` only, as
            `ProviderToolSearchMiddleware` does; all others are always shown. Chosen ones lose the mark.
        name: of this middleware; two in one agent need two names.

    Raises:
        ConfigError, InputError: for options that do not go together or have values that cannot be meant.
    """

    state_schema = ToolSelectionState

    def __init__(  # noqa: PLR0913  (flat options, as the framework's own middleware has)
        self,
        embedder: Embedder | None = None,
        *,
        registry: ToolRetriever | None = None,
        serve_unbound: bool = False,
        max_tools: int = 8,
        always_include: Sequence[str] = (),
        stickiness: Stickiness = "none",
        max_shown: int | None = None,
        num_turns: int = 2,
        query: ToolQuery | None = None,
        mode: Mode | None = None,
        score_threshold: float | None = None,
        on_empty: OnEmpty = "all",
        on_error: OnError = "raise",
        only_deferred: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        options = SelectionOptions(
            max_tools=max_tools,
            always_include=always_include,
            stickiness=stickiness,
            max_shown=max_shown,
            num_turns=num_turns,
            query=query,
            score_threshold=score_threshold,
            on_empty=on_empty,
            on_error=on_error,
            only_deferred=only_deferred,
        )
        check_flag("serve_unbound", serve_unbound)
        if name is not None and (not isinstance(name, str) or not name):
            raise ConfigError(f"name: got {name!r}; expected a non-empty str, or None for the name of the class.")
        if embedder is not None and registry is not None:
            raise ConfigError("embedder and registry were both given; expected one: the registry has its encoder.")
        if serve_unbound and registry is None:
            raise ConfigError("serve_unbound=True needs a registry; expected registry=ToolRetriever(...).")
        self._registry: RegistryTools | None = None
        if registry is not None:
            self._registry = RegistryTools(registry, serve_unbound=serve_unbound, mode=mode)
        self._name = name
        search = self._registry or RequestedTools(embedder or load_shared(), mode or "dense")
        self._narrowing = ToolNarrowing(search, options, self.name)

    @property
    def name(self) -> str:
        """The name given, or that of the class."""
        return self._name or type(self).__name__

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Call the model with the tools chosen.

        Raises:
            InputError: if a tool of `always_include` does not exist, or one that would be served cannot be run.
        """
        narrowed, shown = self._narrowing.narrow(request)
        return self._noted(handler(narrowed), shown)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """As `wrap_model_call`; the choice is made off the event loop."""
        context = contextvars.copy_context()  # a `query` function may read what the caller has set
        narrowed, shown = await in_thread(lambda: context.run(self._narrowing.narrow, request))
        return self._noted(await handler(narrowed), shown)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run a tool of the registry that the agent does not know, if these are served."""
        return handler(self._with_tool(request))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """As `wrap_tool_call`; the registry is read off the event loop."""
        if request.tool is None and self._registry is not None:
            return await handler(await in_thread(lambda: self._with_tool(request)))
        return await handler(request)

    def _with_tool(self, request: ToolCallRequest) -> ToolCallRequest:
        if request.tool is not None or self._registry is None:
            return request
        served = self._registry.serve([request.tool_call["name"]])
        return request.override(tool=served[0]) if served else request

    def _noted(self, response: ModelResponse[Any], shown: Shown | None) -> ModelResponse[Any] | ExtendedModelResponse:
        if shown is None:
            return response
        return ExtendedModelResponse(response, Command(update=write_shown(self.name, shown)))
