"""A registry of tools behind an agent: what it finds of them, and how the agent runs those it was not given."""

import inspect
from collections.abc import Sequence
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from integrations.asking import above
from rag_embedder import Hit, Tool, ToolRetriever
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.search import MAX_K, Mode, check_mode
from rag_embedder.tool_schema import as_tool


class RegistryTools:
    """The tools of a `ToolRetriever`, ranked by a text.

    Args:
        registry: may change at any time; what it holds at the moment of a call counts.
        serve_unbound: whether tools that a model request does not bring along may be shown too.
        mode: overrides the registry's.
    """

    def __init__(self, registry: ToolRetriever, *, serve_unbound: bool, mode: Mode | None) -> None:
        if not isinstance(registry, ToolRetriever):
            raise ConfigError(
                f"registry: got {type(registry).__name__}; expected a ToolRetriever, such as ToolRetriever(embedder)."
            )
        if mode is not None:
            check_mode(mode)
        self._registry = registry
        self.serve_unbound = serve_unbound
        self._mode: Mode | None = mode

    def rank(self, request: str, tools: Sequence[BaseTool], k: int, score_threshold: float | None) -> list[str]:
        """Names of the `k` best, best first, then of the registry's pinned tools, which no threshold holds back."""
        wanted = None if self.serve_unbound else {tool.name for tool in tools}
        depth, most = k, min(len(self._registry), MAX_K)
        while True:
            hits = self._registry.retrieve(request, depth, mode=self._mode)
            found = [hit for hit in hits if wanted is None or hit.id in wanted]
            # The registry's best may all be tools of other agents: look deeper until enough of this one's are found.
            if len(found) >= k or depth >= most:
                break
            depth = min(4 * depth, most)
        best = [hit.id for hit in above(found[:k], score_threshold)]
        return [*best, *(hit.id for hit in found if hit.id in self._registry.pinned and hit.id not in best)]

    def reads_whole(self, request: str) -> bool:
        """Whether the model reads a request to its end."""
        return self._registry.reads_whole(request)

    def schema_tokens(self, tools: Sequence[BaseTool]) -> int:
        """Tokens that the schemas of these tools take in a prompt, by the encoder's tokenizer."""
        return self._registry.schema_tokens([Hit(as_tool(tool), tool.name, 0.0, 1) for tool in tools]).chosen

    def known(self, names: Sequence[str]) -> set[str]:
        """Those of the names that the registry knows."""
        return {tool.name for tool in self._registry.get(names)}

    def serve(self, names: Sequence[str]) -> list[BaseTool]:
        """Tools that the agent can run, for those of the names that are in the registry, in order; none unless allowed.

        Raises:
            InputError: for a tool that is only a description, such as a function schema: nothing could be run.
        """
        return [_runnable(tool) for tool in self._registry.get(names)] if self.serve_unbound else []


def _runnable(tool: Tool) -> BaseTool:
    original = tool.original
    if isinstance(original, BaseTool):
        return original
    if not callable(original):
        kind = "lost when it was reopened" if original is None else f"a {type(original).__name__}"
        raise InputError(
            f"tool {tool.name!r} was found in the registry, but its original is {kind}; expected a LangChain tool or a "
            "callable, which can be run. Add it to the registry as one of these, or delete it there."
        )
    return _structured(original, tool)


def _structured(call: Any, tool: Tool) -> BaseTool:  # noqa: ANN401  (a callable of any signature)
    # A callable object is asynchronous if its `__call__` is.
    is_async = any(map(inspect.iscoroutinefunction, (call, type(call).__call__)))
    return StructuredTool.from_function(
        func=None if is_async else call,
        coroutine=call if is_async else None,
        name=tool.name,
        description=tool.description or tool.name,
    )
