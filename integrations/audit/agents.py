"""How what we hang into LangChain's agents is audited, without an agent."""

from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.runtime import Runtime

from integrations.audit.inside import objects_inside
from integrations.audit.own import ToolProbe
from integrations.audit.probe import Probe
from integrations.langchain.tool_selection.index import RequestedTools
from rag_embedder.retrievers.base import in_thread
from rag_embedder.retrievers.tools import ToolRetriever


class MemoryMiddlewareProbe(Probe):
    """`RagMemoryMiddleware`: runs of a user whom nobody else has, who is forgotten afterwards."""

    kind = "memory of an agent"
    has_two_scenarios = True

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self._runtime: Runtime[Any] = Runtime(context=_Anything(tag))

    def why_not_write(self) -> str:  # noqa: D102
        return "" if self.component._write else "it was made with write=False"

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.before_agent({"messages": [HumanMessage(text)]}, self._runtime)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.abefore_agent({"messages": [HumanMessage(text)]}, self._runtime)

    def write(self, text: str) -> None:  # noqa: D102
        # The text is the agent's answer: what the user says is a query first.
        asked = [HumanMessage("some question")]
        begun = self.component.before_agent({"messages": asked}, self._runtime)
        self.component.after_agent({"messages": [*asked, AIMessage(text)], **begun}, self._runtime)

    async def awrite(self, text: str) -> None:  # noqa: D102
        asked = [HumanMessage("some question")]
        begun = await self.component.abefore_agent({"messages": asked}, self._runtime)
        await self.component.aafter_agent({"messages": [*asked, AIMessage(text)], **begun}, self._runtime)

    def remove(self) -> None:  # noqa: D102
        self.component._memory.forget(self.tag)


class ToolSelectorProbe(Probe):
    """`RagToolSelectorMiddleware`: the registry it searches, or an index like the one it makes of an agent's tools."""

    kind = "tool selection"

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        parts = list(objects_inside(component))
        registry = next((part for part in parts if isinstance(part, ToolRetriever)), None)
        self._registry = None if registry is None else ToolProbe(registry, tag)
        own = next((part for part in parts if isinstance(part, RequestedTools)), None)
        # One like it, with the same encoder: its own would keep the tools of the audit.
        self._requested = None if own is None else RequestedTools(own._embedder, own._mode)

    def why_not_ask(self) -> str:  # noqa: D102
        return "" if self._registry or self._requested else "it holds neither a registry nor an index of tools"

    def why_not_write(self) -> str:  # noqa: D102
        return self.why_not_ask()

    def ask(self, text: str) -> None:  # noqa: D102
        if self._registry is not None:
            self._registry.ask(text)
        elif self._requested is not None:
            self._requested.rank(text, [_tool("some tool", self.new_id())], 1, None)

    async def aask(self, text: str) -> None:  # noqa: D102
        await in_thread(lambda: self.ask(text))

    def write(self, text: str) -> None:  # noqa: D102
        if self._registry is not None:
            self._registry.write(text)
        elif self._requested is not None:
            self._requested.rank("some request", [_tool(text, self.new_id())], 1, None)

    async def awrite(self, text: str) -> None:  # noqa: D102
        await in_thread(lambda: self.write(text))

    def remove(self) -> None:  # noqa: D102
        if self._registry is not None:
            self._registry.remove()


class _Anything:
    """A context whose every attribute is the same: whatever the user's id is called."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __getattr__(self, name: str) -> str:
        return self._value


def _tool(description: str, name: str) -> StructuredTool:
    return StructuredTool.from_function(lambda: "", name=name, description=description)
