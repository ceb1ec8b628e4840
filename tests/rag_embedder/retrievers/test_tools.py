"""Tools of any kind are found by the request they serve and come back as the objects that were added."""

import copy
from types import SimpleNamespace

import pytest

from rag_embedder import Tool, ToolRetriever
from rag_embedder.errors import DuplicateIdError, InputError, InvalidTextError
from tests.retriever_cases import Watched, WordEncoder


def get_weather(city: str, days: int = 1) -> str:
    """Forecast of rain and sun for a city.

    Args:
        city: where.
        days: how many days.
    """
    raise AssertionError("tools are retrieved, never run")


OPENAI = {
    "type": "function",
    "function": {
        "name": "send_email",
        "description": "Send an email to a person",
        "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
    },
}
MCP = {"name": "play_music", "description": "Play a song", "inputSchema": {"type": "object", "properties": {}}}
MCP_OBJECT = SimpleNamespace(name="book_train", description="Buy a train ticket", inputSchema={"type": "object"})
PLAIN = Tool("open_door", "Open the door of the house", {"type": "object", "properties": {}}, {"area": "home"})
REQUESTS = {
    "get_weather": "forecast for the city",
    "send_email": "send an email",
    "play_music": "play a song",
    "book_train": "a train ticket",
    "open_door": "the door of the house",
}
ALL = [get_weather, OPENAI, MCP, MCP_OBJECT, PLAIN]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def tools(watched):
    with ToolRetriever(watched) as opened:
        yield opened


def names(hits):
    return [hit.item.name for hit in hits]


def test_tools_of_every_kind_come_back_as_the_objects_that_were_added(tools):
    before = copy.deepcopy([OPENAI, MCP])
    assert tools.add(ALL) == list(REQUESTS)
    for (name, request), original in zip(REQUESTS.items(), ALL, strict=True):
        for mode in ("dense", "lexical", "hybrid"):
            hit = tools.retrieve(request, 1, mode=mode)[0]
            assert (hit.id, hit.item.name, hit.rank) == (name, name, 1)
            assert hit.item.original is original
    assert before == [OPENAI, MCP]
    assert len(tools) == 5


def test_langchain_and_llama_index_tools_are_accepted(tools):
    langchain_tools = pytest.importorskip("langchain_core.tools")
    llama_index_tools = pytest.importorskip("llama_index.core.tools")

    @langchain_tools.tool
    def find_flight(city: str) -> str:
        """Find a flight to a city."""
        return city

    read_file = llama_index_tools.FunctionTool.from_defaults(
        lambda path: path, name="read_file", description="Read a file"
    )
    assert tools.add([find_flight, read_file]) == ["find_flight", "read_file"]
    assert tools.retrieve("flight to a city", 1)[0].item.original is find_flight
    assert tools.retrieve("read a file", 1)[0].item.original is read_file


def test_after_reopening_data_come_back_and_functions_when_added_again(watched, tmp_path):
    with ToolRetriever(watched, path=tmp_path / "tools") as first:
        first.add(ALL)
    watched.documents.clear()
    with ToolRetriever(watched, path=tmp_path / "tools") as second:
        found = {name: second.retrieve(request, 1)[0].item for name, request in REQUESTS.items()}
        assert found["send_email"].original == OPENAI
        assert found["play_music"].original == MCP
        assert found["open_door"].original == PLAIN
        assert found["get_weather"].original is None
        assert "days" in found["get_weather"].parameters["properties"]
        assert second.update([get_weather, MCP_OBJECT]).unchanged == ("get_weather", "book_train")
        assert second.retrieve(REQUESTS["get_weather"], 1)[0].item.original is get_weather
    assert watched.documents == []


def test_a_changed_tool_replaces_the_one_of_its_name(tools, watched):
    tools.add(ALL)
    changed = {**MCP, "description": "Stop the fire"}
    assert tools.update([changed, PLAIN]).updated == ("play_music",)
    assert tools.retrieve("stop the fire", 1)[0].item.original is changed
    assert tools.delete(["play_music", "unknown"]) == 1
    assert "play_music" not in names(tools.retrieve("play a song", 10))
    assert len(tools) == 4


def test_two_tools_of_one_name_are_refused_with_both_positions(tools):
    with pytest.raises(DuplicateIdError, match=r"'play_music' occurs at 1 and at 2"):
        tools.add([PLAIN, MCP, Tool("play_music")])
    assert len(tools) == 0


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        (5, r"tools\[1\]: a int cannot be used as a tool"),
        (None, r"tools\[1\]"),
        ({"description": "no name"}, r"tools\[1\]: a dict given as a tool has no 'name'"),
        (Tool(""), r"tools\[1\]: .* name of 0 characters"),
        (Tool("x" * 300), r"tools\[1\]: .* name of 300 characters; expected 1 to 256"),
        (Tool("a\nb"), r"tools\[1\]: .* control characters"),
        (Tool("x", parameters={"type": "string"}), r"tools\[1\]"),
        (Tool("x", metadata={"a": {1}}), r"metadata\.a of entry 'x': got set"),
        ({"name": "x", "func": get_weather}, r"payload\.original\.func of entry 'x': got function"),
    ],
)
def test_what_is_no_tool_is_refused_with_its_position(tools, watched, tool, message):
    with pytest.raises(InputError, match=message):
        tools.add([PLAIN, tool])
    assert len(tools) == 0
    assert watched.documents == []


def test_a_bare_tool_is_refused_with_the_remedy(tools):
    for tool in (PLAIN, MCP, get_weather):
        with pytest.raises(InputError, match=r"expected a list of tools. Wrap a single one in a list"):
            tools.add(tool)


def test_pinned_tools_are_in_every_result_after_the_best(watched):
    with ToolRetriever(watched, pinned=["open_door", "send_email", "open_door"]) as tools:
        tools.add(ALL)
        for mode in ("dense", "lexical", "hybrid"):
            hits = tools.retrieve("play a song", 1, mode=mode)
            assert names(hits) == ["play_music", "open_door", "send_email"]
            assert [hit.rank for hit in hits] == [1, 2, 3]
        assert names(tools.retrieve("send an email", 1)) == ["send_email", "open_door"]
        assert names(tools.retrieve("", 1)) == ["open_door", "send_email"]
        assert [hit.score for hit in tools.retrieve("", 1)] == [0.0, 0.0]
        assert names(tools.retrieve("door", 1, filter={"area": "work"})) == ["open_door", "send_email"]


def test_scores_of_pinned_tools_are_cosines_only_among_cosines(watched):
    with ToolRetriever(watched, pinned=["open_door"]) as tools:
        tools.add(ALL)
        everything = {hit.id: hit.score for hit in tools.retrieve("play a song", 5)}
        assert tools.retrieve("play a song", 1)[1].score == pytest.approx(everything["open_door"], abs=1e-6)
        watched.queries.clear()
        assert tools.retrieve("play a song", 1, mode="lexical")[1].score == 0.0
        assert watched.queries == []


def test_it_says_which_tools_are_pinned(watched, tools):
    assert tools.pinned == ()
    with ToolRetriever(watched, pinned=["send_email", "play_music", "send_email"]) as pinning:
        assert pinning.pinned == ("send_email", "play_music")


def test_a_pinned_tool_that_was_not_added_is_named(watched):
    with ToolRetriever(watched, pinned=["ask_human"]) as tools:
        tools.add(ALL)
        with pytest.raises(InputError, match=r"pinned tools \['ask_human'\] have not been added"):
            tools.retrieve("play a song")
    with pytest.raises(InvalidTextError, match="pinned: got a bare str"):
        ToolRetriever(watched, pinned="ask_human")


def test_saved_tokens_are_those_of_the_schemas_left_out(tools):
    tools.add(ALL)
    hits = tools.retrieve("play a song", 2)
    tokens = tools.schema_tokens(hits)
    assert tokens.all_tools == tools.schema_tokens(tools.retrieve("play a song", 5)).chosen
    assert 0 < tokens.chosen < tokens.all_tools
    assert tokens.saved == tokens.all_tools - tokens.chosen
    assert tools.schema_tokens([]).saved == tokens.all_tools
    tools.delete(["get_weather"])
    assert tools.schema_tokens(hits).all_tools < tokens.all_tools


def test_filters_choose_tools_by_metadata(tools):
    tools.add(ALL)
    assert names(tools.retrieve("play a song", 5, filter={"area": "home"})) == ["open_door"]


def test_tools_are_got_by_name_in_the_order_asked_and_absent_ones_are_left_out(tools):
    tools.add(ALL)
    found = tools.get(["play_music", "no_such_tool", "get_weather"])
    assert [tool.name for tool in found] == ["play_music", "get_weather"]
    assert found[1].original is get_weather
    assert tools.get([]) == []
    with pytest.raises(InvalidTextError, match="bare str"):
        tools.get("play_music")


def test_it_says_whether_a_request_is_read_to_its_end(tools):
    assert tools.reads_whole("word " * 64)
    assert not tools.reads_whole("word " * 65)


def test_one_pydantic_object_in_the_place_of_a_list_is_refused_without_a_warning(embedder):
    pydantic = pytest.importorskip("pydantic")

    class Schema(pydantic.BaseModel):
        name: str = "rain"

    with ToolRetriever(embedder) as tools, pytest.raises(InputError, match="got Schema; expected a list of tools"):
        tools.add(Schema())
