import asyncio
import functools

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent
from llama_index.core.objects import ObjectIndex
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import FunctionTool

from integrations.conformance.llama_index_tools import ObjectRetrieverConformance, make_tools
from integrations.conformance.loop_ticks import count_ticks
from integrations.llama_index import RagToolRetriever
from rag_embedder import Tool, ToolRetriever
from rag_embedder.errors import ConfigError, DuplicateIdError, InputError, InvalidTextError, StoreClosedError
from tests.integrations.llama_index.word_embedding import WordEmbedding
from tests.retriever_cases import Watched, WordEncoder

# LlamaIndex's agents read all attributes of themselves, pydantic's deprecated ones included.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")


def naive_retriever(tools, *, k, seconds=0.0):
    index = ObjectIndex.from_objects(tools, index_cls=VectorStoreIndex, embed_model=WordEmbedding(seconds=seconds))
    return index.as_retriever(similarity_top_k=k)


def our_retriever(tools, *, k, seconds=0.0):
    encoder = Watched(WordEncoder())
    retriever = RagToolRetriever(tools, encoder, k=k)
    encoder.seconds = seconds
    return retriever


class TestOurs(ObjectRetrieverConformance):
    def open_retriever(self, tools, *, k, seconds=0.0):
        return our_retriever(tools, k=k, seconds=seconds)


class Naive(ObjectRetrieverConformance):
    def open_retriever(self, tools, *, k, seconds=0.0):
        return naive_retriever(tools, k=k, seconds=seconds)


def names(tools):
    return [tool.metadata.name for tool in tools]


def get_weather(city: str) -> str:
    """The weather forecast of a city."""
    return f"rain in {city}"


def send_email(to: str) -> str:
    """Send an email."""
    return f"sent to {to}"


async def play_music(artist: str) -> str:
    """Play music by an artist."""
    return f"playing {artist}"


FUNCTIONS = [get_weather, send_email, play_music]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def tools(watched):
    with RagToolRetriever(FUNCTIONS, watched, k=2) as opened:
        yield opened


# --- the framework's own, side by side


async def test_the_conformance_tests_fail_on_llama_indexs_own_object_retriever():
    suite = Naive()
    suite.test_the_objects_themselves_come_best_first()  # it is no straw man
    with pytest.raises(AssertionError, match="TypeError"):
        await suite.test_an_empty_request_is_no_accident("")
    with pytest.raises(AssertionError):
        await suite.test_the_bundle_stays_as_it_is()
    with pytest.raises(AssertionError):
        await suite.test_a_tool_is_found_by_its_name_however_few_are_asked_for()
    with pytest.raises(AssertionError):
        await suite.test_the_event_loop_stays_free()


# --- choosing


def test_pinned_tools_come_last_and_are_not_counted(watched):
    with RagToolRetriever(FUNCTIONS, watched, k=1, pinned=["send_email"]) as retriever:
        assert names(retriever.retrieve("the weather forecast")) == ["get_weather", "send_email"]
        assert names(retriever.retrieve("send an email")) == ["send_email"]
        assert names(retriever.retrieve("")) == ["send_email"]
        assert names(retriever.retrieve("get_weather")) == ["get_weather", "send_email"]


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_threshold_leaves_out_all_but_pinned_tools_and_those_asked_for_by_name(watched, mode):
    options = {"k": 3, "pinned": ["send_email"], "mode": mode}
    with RagToolRetriever(FUNCTIONS, watched, score_threshold=1000.0, **options) as retriever:
        assert names(retriever.retrieve("the weather forecast of a city")) == ["send_email"]
        assert names(retriever.retrieve("play_music")) == ["play_music", "send_email"]
    with RagToolRetriever(FUNCTIONS, watched, score_threshold=-1000.0, **options) as retriever:
        assert names(retriever.retrieve("the weather forecast of a city"))[0] == "get_weather"


def test_a_threshold_keeps_what_scores_as_much(watched):
    with RagToolRetriever(FUNCTIONS, watched, k=3) as retriever:
        scores = {hit.id: hit.score for hit in retriever.registry.retrieve("play music", 3)}
        ranked = sorted(scores, key=lambda name: -scores[name])
        exact = RagToolRetriever(retriever=retriever.registry, k=3, score_threshold=scores[ranked[1]])
        assert names(exact.retrieve("play music")) == ranked[:2]


def test_excluded_tools_leave_no_place_empty(watched):
    with RagToolRetriever(make_tools(), watched, k=4, exclude=["get_weather", "turn_on_heating"]) as retriever:
        assert set(names(retriever.retrieve("the weather"))) == {
            "convert_currency",
            "play_music",
            "send_email",
            "book_train",
        }


def test_tools_added_and_deleted_at_run_time_show_at_the_next_request(tools, watched):
    def book_train(station: str) -> str:
        """Book a train ticket to a station."""
        return station

    assert "book_train" not in names(tools.retrieve("a train ticket to a station"))
    assert tools.add([book_train]) == ["book_train"]
    assert names(tools.retrieve("a train ticket to a station"))[0] == "book_train"
    watched.documents.clear()
    tools.registry.delete(["book_train"])
    assert "book_train" not in names(tools.retrieve("book_train"))
    assert tools.delete(["send_email", "no such"]) == 1
    assert "send_email" not in names(tools.retrieve("send an email"))
    assert watched.documents == []


def test_a_tool_replaced_under_its_name_is_the_new_object(tools):
    old = tools.retrieve("get_weather")[0]
    new = FunctionTool.from_defaults(get_weather)
    tools.add([new])
    assert tools.retrieve("get_weather")[0] is new
    assert old is not new


def test_a_description_of_ones_own_can_stand_before_a_callable(watched):
    with RagToolRetriever([Tool("wx", "climate of a place", original=get_weather)], watched) as retriever:
        (found,) = retriever.retrieve("climate")
        assert found.metadata.name == "wx"
        assert found(city="Bonn").content == "rain in Bonn"


def test_partials_methods_and_callable_objects_can_be_tools(watched):
    class Desk:
        def ring(self, times: int) -> str:
            """Ring the bell of the desk."""
            return "ring " * times

    class Clock:
        name = "tell_time"

        def __call__(self, zone: str) -> str:
            """Tell the time of a zone."""
            return f"noon in {zone}"

    partial = functools.partial(send_email, to="ann")
    with ToolRetriever(watched) as registry, RagToolRetriever([Desk().ring, partial], retriever=registry) as retriever:
        registry.add([Clock()])  # by another way, and not in LlamaIndex's form
        assert retriever.retrieve("tell_time")[0](zone="Rome").content == "noon in Rome"
        assert retriever.retrieve("tell_time")[0] is retriever.retrieve("the time of a zone")[0]
        registry.delete(["tell_time"])
        assert {tool.metadata.name for tool in retriever.retrieve("the bell of the desk")} == {"ring", "send_email"}
        assert retriever.retrieve("ring")[0](times=2).content == "ring ring "
        assert retriever.retrieve("send_email")[0]().content == "sent to ann"


# --- the base class's parts


class Drop(BaseNodePostprocessor):
    """Leaves only nodes whose text has a word, after a while."""

    word: str

    def _postprocess_nodes(self, nodes, query_bundle=None):
        return [node for node in nodes if self.word in node.node.get_content()]


async def test_postprocessors_see_nodes_with_scores_but_pinned_tools_stay(watched):
    with RagToolRetriever(
        FUNCTIONS, watched, k=3, pinned=["send_email"], node_postprocessors=[Drop(word="music")]
    ) as retriever:
        for found in (retriever.retrieve("the music"), await retriever.aretrieve("the music")):
            assert names(found) == ["play_music", "send_email"]
        assert names(retriever.retrieve("get_weather")) == ["play_music", "get_weather", "send_email"]
        assert names(retriever.retrieve("")) == ["send_email"]
        nodes = retriever.retriever.retrieve("the music")
        assert [node.score for node in nodes] == sorted((node.score for node in nodes), reverse=True)
        assert retriever.object_node_mapping.from_node(nodes[0].node) is retriever.retrieve("the music")[0]


async def test_slow_postprocessors_leave_the_event_loop_free(watched):
    class Slow(BaseNodePostprocessor):
        def _postprocess_nodes(self, nodes, query_bundle=None):
            import time

            time.sleep(0.3)
            return nodes

    with RagToolRetriever(FUNCTIONS, watched, k=1, node_postprocessors=[Slow()]) as retriever:
        found, ticks = await count_ticks(retriever.aretrieve("the weather forecast"))
    assert names(found) == ["get_weather"]
    assert ticks >= 5


def test_a_bundle_is_asked_with_its_words_and_not_with_a_foreign_embedding(tools):
    bundle = QueryBundle("send an email", embedding=[1.0, 0.0])
    assert tools.retrieve(bundle) == tools.retrieve("send an email")
    assert bundle.embedding == [1.0, 0.0]


async def test_requests_at_the_same_time_do_not_mix(tools):
    wanted = {"send an email": "send_email", "play music by an artist": "play_music", "weather forecast": "get_weather"}
    requests = list(wanted) * 20
    found = await asyncio.gather(*(tools.aretrieve(request) for request in requests))
    assert [names(one)[0] for one in found] == [wanted[request] for request in requests]


def test_queries_are_queries_and_tools_are_documents(tools, watched):
    assert len(watched.documents) == 3
    tools.retrieve("send an email")
    assert set(watched.queries) == {"send an email"}
    assert "send an email" not in watched.documents


# --- what is refused


@pytest.mark.parametrize("wrong", [5, None, ["a", "b"], {"query": "a"}])
def test_a_request_that_is_none_says_what_is_expected(tools, wrong):
    with pytest.raises(InputError, match="expected a str or QueryBundle"):
        tools.retrieve(wrong)


def test_what_could_not_be_run_is_refused_with_its_position(tools):
    schema = {"name": "look_up", "description": "look up", "parameters": {"type": "object", "properties": {}}}
    for wrong in (schema, Tool("look_up", "look up"), lambda x: x, 5):
        with pytest.raises(InputError, match=r"tools\[1\]"):
            tools.add([get_weather, wrong])
    with pytest.raises(InputError, match="reserved"):
        tools.add([FunctionTool.from_defaults(get_weather, name="handoff")])
    with pytest.raises(DuplicateIdError):
        tools.add([get_weather, get_weather])
    with pytest.raises(InvalidTextError, match="Wrap a single one"):
        tools.add(FunctionTool.from_defaults(get_weather))
    assert len(tools.registry) == 3


def test_options_that_exclude_each_other_are_refused(tools, watched, tmp_path):
    for more in ({"embedder": watched}, {"path": tmp_path}, {"pinned": ["send_email"]}):
        with pytest.raises(ConfigError, match="retriever, "):
            RagToolRetriever(retriever=tools.registry, **more)
    with pytest.raises(ConfigError, match="expected a ToolRetriever"):
        RagToolRetriever(retriever=tools)
    with pytest.raises(ConfigError, match="pinned, exclude"):
        RagToolRetriever(FUNCTIONS, watched, pinned=["send_email"], exclude=["send_email"])
    with pytest.raises(ConfigError):
        RagToolRetriever(FUNCTIONS, watched, mode="fuzzy")
    with pytest.raises(InputError):
        RagToolRetriever(FUNCTIONS, watched, k=0)
    with pytest.raises(InputError):
        RagToolRetriever(FUNCTIONS, watched, score_threshold="high")
    with pytest.raises(TypeError):
        RagToolRetriever(FUNCTIONS, watched, similarity_top_k=3)


def test_a_store_is_closed_by_who_opened_it(watched):
    with ToolRetriever(watched) as registry:
        RagToolRetriever(FUNCTIONS, retriever=registry).close()
        assert len(registry) == 3
    own = RagToolRetriever(FUNCTIONS, watched)
    own.close()
    with pytest.raises(StoreClosedError):
        own.retrieve("send an email")


def test_a_refused_tool_leaves_no_store_open(tmp_path, watched):
    with pytest.raises(InputError):
        RagToolRetriever([5], watched, path=tmp_path / "tools")
    with RagToolRetriever(FUNCTIONS, watched, path=tmp_path / "tools") as retriever:
        assert len(retriever.registry) == 3


def test_the_shipped_model_finds_tools_by_meaning(minilm):
    with RagToolRetriever(make_tools(), minilm, k=1) as retriever:
        assert names(retriever.retrieve("Do I need an umbrella in Oslo?")) == ["get_weather"]
        assert names(retriever.retrieve("How many dollars are 50 euros?")) == ["convert_currency"]
        assert names(retriever.retrieve("put on some jazz")) == ["play_music"]


def test_the_choice_of_tools_shows_in_traces(tools):
    seen = []

    class Handler(BaseEventHandler):
        def handle(self, event, **kwargs):
            if isinstance(event, RetrievalEndEvent):
                seen.append([(node.node.node_id, node.score) for node in event.nodes])

    dispatcher, handler = get_dispatcher(), Handler()
    dispatcher.add_event_handler(handler)
    try:
        tools.retrieve("send an email")
    finally:
        dispatcher.event_handlers.remove(handler)
    ((best, _),) = seen
    assert best[0] == "send_email"
    assert 0.0 < best[1] <= 1.0
