"""What a framework fills in is neither searched nor counted."""

from typing import Annotated, Any, Optional

import pytest

from rag_embedder.tool_schema import as_tool


def parameters(function):
    return list(as_tool(function).parameters["properties"])


def test_arguments_that_langchain_injects_are_left_out():
    tools = pytest.importorskip("langchain.tools")
    config = pytest.importorskip("langchain_core.runnables").RunnableConfig

    def book(
        city: str,
        runtime: tools.ToolRuntime,
        config: config,
        maybe: Optional[config] = None,  # noqa: UP045  (the old spelling, too)
        state: Annotated[dict, tools.InjectedState] = None,  # noqa: RUF013
        store: Annotated[Any, tools.InjectedStore()] = None,
    ) -> str:
        """Book a room in a city."""
        return city

    assert parameters(book) == ["city"]
    assert as_tool(book).parameters["required"] == ["city"]


def test_the_context_that_llama_index_injects_is_left_out():
    workflow = pytest.importorskip("llama_index.core.workflow")

    def remember(ctx: workflow.Context, note: str) -> None:
        """Remember a note."""

    assert parameters(remember) == ["note"]


def test_other_annotations_stay():
    class Context:
        """Not a framework's."""

    def read(context: Context, page: Annotated[int, "which page"] = 1) -> None:
        """Read a page."""

    assert parameters(read) == ["context", "page"]
