"""The objects that agents run for the tools of a registry, which stores only what is said about them."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from llama_index.core.objects.tool_node_mapping import BaseToolNodeMapping
from llama_index.core.schema import BaseNode, TextNode
from llama_index.core.tools import BaseTool, FunctionTool

from integrations.llama_index.nodes import node_of
from rag_embedder.errors import InputError
from rag_embedder.retrievers.tools import ToolRetriever
from rag_embedder.tool_schema import as_tool
from rag_embedder.types import Hit, Tool


class LiveTools(BaseToolNodeMapping):
    """Which object of this process an agent runs for a tool of the registry."""

    def __init__(self, registry: ToolRetriever) -> None:
        self._registry = registry
        self._known: dict[str, tuple[object, BaseTool]] = {}
        self._lock = threading.Lock()

    def prepared(self, tools: Iterable[object]) -> list[object]:
        """What to add to the registry: LlamaIndex tools as they are, callables with the tool that runs them.

        Raises:
            InputError: for what cannot be run, with its position, and for the name that agents reserve.
        """
        return [_prepared(tool, f"tools[{position}]") for position, tool in enumerate(tools)]

    def runnable(self, tool: Tool) -> BaseTool | None:
        """The object to run: always the same one for a tool; None if there is only a description of it."""
        with self._lock:
            known = self._known.get(tool.name)
            if known is not None and known[0] is tool.original:
                return known[1]
            live = _as_base_tool(tool.original, tool.name)
            if live is not None:
                self._known[tool.name] = (tool.original, live)
            return live

    @property
    def obj_node_mapping(self) -> dict[Any, Any]:
        """The tools that were found so far, by name."""
        return {name: live for name, (_, live) in dict(self._known).items()}

    @classmethod
    def from_objects(cls, objs: Iterable[BaseTool], *args: Any, **kwargs: Any) -> "LiveTools":  # noqa: ANN401
        """Refused: the tools are in a `ToolRetriever`."""
        raise NotImplementedError("expected RagToolRetriever(tools, embedder); it makes its own mapping.")

    def to_node(self, obj: BaseTool) -> TextNode:
        """A node with the tool's name for its id; it is the same in every process."""
        tool = as_tool(obj)
        node = node_of(Hit(item=tool, id=tool.name, score=0.0, rank=1)).node
        assert isinstance(node, TextNode)
        return node

    def _add_object(self, obj: BaseTool) -> None:
        self._registry.add(self.prepared([obj]))

    def _from_node(self, node: BaseNode) -> BaseTool:
        known = self._known.get(node.node_id)
        if known is not None:
            return known[1]
        for tool in self._registry.get([node.node_id]):
            if (live := self.runnable(tool)) is not None:
                return live
        raise nothing_to_run([node.node_id])


def _prepared(given: object, field: str) -> object:
    try:
        tool = as_tool(given)
    except InputError as error:
        raise InputError(f"{field}: {error} Nothing was added.") from error
    live = _as_base_tool(tool.original, tool.name)
    if live is None:
        raise InputError(
            f"{field}: got a {type(tool.original).__name__}, which only describes tool {tool.name!r}; expected a "
            "LlamaIndex tool or a Python callable, which an agent can run. Nothing was added."
        )
    if tool.name == "handoff":
        raise InputError(f"{field}: the name 'handoff' is reserved by LlamaIndex's agents; expected another name.")
    return given if live is given else replace(tool, original=live)


def _as_base_tool(original: object, name: str) -> BaseTool | None:
    if isinstance(original, BaseTool):
        return original
    if isinstance(original, Tool | Mapping | type) or hasattr(original, "args_schema") or not callable(original):
        return None
    function: Callable[..., Any] = original
    return FunctionTool.from_defaults(function, name=name)  # as an agent does with the callables in its `tools`


def nothing_to_run(names: list[str]) -> InputError:
    """The error for tools of which only the description is known."""
    return InputError(
        f"tools {names} are stored, but nothing that could be run is there; expected LlamaIndex tools or callables. "
        "Objects are not stored: add them in every process, RagToolRetriever(tools, path=...); unchanged ones are not "
        "encoded again."
    )
