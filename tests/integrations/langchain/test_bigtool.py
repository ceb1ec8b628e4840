"""The functions that langgraph-bigtool turns into its retrieval tool: names of tools for a query."""

import inspect
from typing import get_type_hints

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.prebuilt.tool_node import ToolNode

from integrations.conformance.loop_ticks import count_ticks
from integrations.langchain import make_retrieve_tools
from rag_embedder import ToolRetriever
from rag_embedder.errors import ConfigError, InputError
from tests.retriever_cases import Watched, WordEncoder


def make_tool(name):
    return StructuredTool.from_function(lambda: f"{name} done", name=name, description=f"{name.replace('_', ' the ')}.")


TOOLS = {name: make_tool(name) for name in ("wash_car", "wash_door", "sell_boat", "lift_stone", "paint_fence")}


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def retriever(watched):
    with ToolRetriever(watched, pinned=["lift_stone"]) as opened:
        opened.add(TOOLS.values())
        yield opened


def as_bigtool_does(functions):
    """bigtool makes one tool of the pair, asks it by a call of the model, and looks the names up in its registry."""
    function, coroutine = functions
    return StructuredTool.from_function(func=function, coroutine=coroutine)


def test_the_model_sees_one_tool_with_one_argument(retriever):
    tool = as_bigtool_does(make_retrieve_tools(retriever))
    schema = convert_to_openai_tool(tool)["function"]
    assert schema["name"] == "retrieve_tools"
    assert schema["description"].startswith("Find tools for a task.")
    assert schema["parameters"]["properties"] == {"query": {"type": "string"}}
    assert schema["parameters"]["required"] == ["query"]


def test_both_functions_look_alike_and_are_typed(retriever):
    function, coroutine = make_retrieve_tools(retriever)
    assert function.__name__ == coroutine.__name__ == "retrieve_tools"
    assert inspect.getdoc(function) == inspect.getdoc(coroutine)
    assert get_type_hints(function) == get_type_hints(coroutine) == {"query": str, "return": list[str]}
    assert inspect.iscoroutinefunction(coroutine)


async def test_the_answers_are_ids_of_the_registry_best_first_and_the_pinned_one(retriever):
    tool = as_bigtool_does(make_retrieve_tools(retriever, k=2))
    found = tool.invoke({"query": "wash the car"})
    assert found == ["wash_car", "wash_door", "lift_stone"]
    assert await tool.ainvoke({"query": "wash the car"}) == found
    assert TOOLS[found[0]].invoke({}) == "wash_car done"


async def test_the_coroutine_alone_is_enough(retriever):
    _, coroutine = make_retrieve_tools(retriever, k=1)
    tool = StructuredTool.from_function(coroutine=coroutine)
    assert tool.name == "retrieve_tools"
    assert (await tool.ainvoke({"query": "sell the boat"}))[0] == "sell_boat"


def test_what_is_found_can_be_run_by_a_tool_node_of_the_whole_registry(retriever):
    call = {"name": "retrieve_tools", "args": {"query": "paint the fence"}, "id": "1", "type": "tool_call"}
    function, _ = make_retrieve_tools(retriever, k=1)
    answer = StructuredTool.from_function(function).invoke(call)
    assert isinstance(answer, ToolMessage)
    assert answer.content == ["paint_fence", "lift_stone"]
    assert set(function("paint the fence")) <= set(ToolNode(list(TOOLS.values())).tools_by_name)


def test_a_threshold_keeps_only_what_fits_and_the_pinned_one(retriever):
    function, _ = make_retrieve_tools(retriever, k=4, score_threshold=0.75)
    assert function("wash the car") == ["wash_car", "lift_stone"]


def test_other_modes_are_passed_on(retriever, watched):
    function, _ = make_retrieve_tools(retriever, k=1, mode="lexical")
    assert function("wash the car") == ["wash_car", "lift_stone"]
    assert watched.queries == []


def test_an_empty_query_finds_the_pinned_tool_only(retriever):
    function, _ = make_retrieve_tools(retriever)
    assert function("") == ["lift_stone"]


def test_tools_added_and_deleted_later_are_seen(retriever):
    function, _ = make_retrieve_tools(retriever, k=1)
    retriever.add([make_tool("fly_kite")])
    assert function("fly the kite")[0] == "fly_kite"
    retriever.delete(["fly_kite"])
    assert function("fly the kite")[0] != "fly_kite"


async def test_the_coroutine_leaves_the_loop_free(retriever, watched):
    watched.seconds = 0.3
    _, coroutine = make_retrieve_tools(retriever, k=1)
    found, ticks = await count_ticks(coroutine("wash the car"))
    assert found[0] == "wash_car"
    assert ticks >= 10


def test_mistakes_are_refused_when_the_functions_are_made(retriever):
    with pytest.raises(ConfigError, match="retriever: got WordEncoder; expected a ToolRetriever"):
        make_retrieve_tools(WordEncoder())
    with pytest.raises(InputError, match="k: got 0"):
        make_retrieve_tools(retriever, k=0)
    with pytest.raises(ConfigError, match="sparse"):
        make_retrieve_tools(retriever, mode="sparse")
    with pytest.raises(TypeError, match="limit"):
        make_retrieve_tools(retriever, limit=3)
