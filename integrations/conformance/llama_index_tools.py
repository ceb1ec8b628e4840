"""What a LlamaIndex tool retriever must do: `ObjectRetrieverConformance`, for any `ObjectRetriever` of tools."""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.objects import ObjectRetriever
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import BaseTool, FunctionTool

from integrations.conformance.loop_ticks import check_loop_was_free, count_ticks
from integrations.conformance.scripted_llm import ScriptedLLM, call_of

_SECONDS = 0.3

_WHAT = {
    "get_weather": "weather forecast for a city: rain, sun, wind and temperature tomorrow",
    "convert_currency": "convert an amount of money from one currency to another at today's exchange rate",
    "play_music": "play a song, an album or music by an artist on the speakers",
    "send_email": "send an email message with a subject to a person",
    "turn_on_heating": "get the weather out of the house: warm the rooms by the radiators",
    "book_train": "book a train ticket between two stations",
}
"""Two of them speak of weather, so that a search for a tool's name does not find it by luck."""

_REQUESTS = {
    "get_weather": "the rain and wind forecast of tomorrow",
    "convert_currency": "how much money is that in another currency at the exchange rate",
    "play_music": "play music by an artist",
    "send_email": "send an email to a person",
    "book_train": "a train ticket between stations",
}


class ObjectRetrieverConformance:
    """Subclass it, override `open_retriever`, and pytest runs its tests on your retriever.

    class TestMine(ObjectRetrieverConformance):
        def open_retriever(self, tools, *, k, seconds=0.0):
            return MyRetriever(tools, embed_model=Slow(seconds), k=k)
    """

    def open_retriever(self, tools: Sequence[BaseTool], *, k: int, seconds: float = 0.0) -> ObjectRetriever[BaseTool]:
        """A new retriever over these tools that gives at most `k`; each pass through its model takes `seconds`."""
        raise NotImplementedError(f"{type(self).__name__}.open_retriever")

    def test_the_objects_themselves_come_best_first(self) -> None:
        """The very objects that were added, since an agent runs what it gets."""
        tools = make_tools()
        retriever = self.open_retriever(tools, k=3)
        assert isinstance(retriever, ObjectRetriever)
        for name, request in _REQUESTS.items():
            found = retriever.retrieve(request)
            assert [tool.metadata.name for tool in found][:1] == [name]
            assert all(tool in tools for tool in found)

    def test_there_are_at_most_k_and_each_once(self) -> None:
        """Every schema that is sent costs tokens; providers refuse a name that comes twice."""
        for k in (1, 3, 50):
            found = self.open_retriever(make_tools(), k=k).retrieve(_REQUESTS["play_music"])
            assert len(found) == min(k, len(_WHAT))
            assert len({tool.metadata.name for tool in found}) == len(found)

    async def test_asynchronous_calls_find_the_same(self) -> None:
        """Agents call `aretrieve`, everybody else `retrieve`."""
        retriever = self.open_retriever(make_tools(), k=3)
        for request in _REQUESTS.values():
            assert await retriever.aretrieve(request) == retriever.retrieve(request)

    @pytest.mark.parametrize("request_text", ["", "  \n"])
    async def test_an_empty_request_is_no_accident(self, request_text: str) -> None:
        """Agents send one for a message without text, such as an image."""
        retriever = self.open_retriever(make_tools(), k=3)
        _unhurt(lambda: retriever.retrieve(request_text))
        try:
            await retriever.aretrieve(request_text)
        except Exception as error:
            raise AssertionError(f"aretrieve({request_text!r}) failed with {type(error).__name__}: {error}") from error

    async def test_the_bundle_stays_as_it_is(self) -> None:
        """An embedding left in it would be taken by the next retriever, which has another model."""
        retriever = self.open_retriever(make_tools(), k=2)
        bundle = QueryBundle(_REQUESTS["send_email"])
        before = copy.deepcopy(bundle)
        assert retriever.retrieve(bundle) == retriever.retrieve(bundle.query_str)
        assert bundle == before
        await retriever.aretrieve(bundle)
        assert bundle == before

    async def test_a_tool_is_found_by_its_name_however_few_are_asked_for(self) -> None:
        """`FunctionAgent` asks for the name of the tool that its model called, and runs it only if it comes back."""
        retriever = self.open_retriever(make_tools(), k=1)
        for name in _WHAT:
            assert name in [tool.metadata.name for tool in retriever.retrieve(name)]
            assert name in [tool.metadata.name for tool in await retriever.aretrieve(name)]

    @pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")  # agents read all attributes of themselves
    @pytest.mark.parametrize("streaming", [True, False])
    @pytest.mark.parametrize("name", list(_REQUESTS))
    async def test_an_agent_is_shown_the_tool_and_runs_it(self, name: str, streaming: bool) -> None:
        """A real `FunctionAgent` with a scripted model, one tool at a time."""
        model = ScriptedLLM(responses=[call_of(name, text="please"), "done"])
        agent = FunctionAgent(
            llm=model, tool_retriever=self.open_retriever(make_tools(), k=1), streaming=streaming, timeout=20
        )
        output = await agent.run(user_msg=_REQUESTS[name])
        assert model.calls[0].tool_names == (name,)
        assert f"{name} did: please" in model.calls[1].text
        assert str(output) == "done"

    async def test_the_event_loop_stays_free(self) -> None:
        """While the model encodes, others are served."""
        retriever = self.open_retriever(make_tools(), k=2, seconds=_SECONDS)
        found, ticks = await count_ticks(retriever.aretrieve(_REQUESTS["book_train"]))
        assert "book_train" in [tool.metadata.name for tool in found]
        check_loop_was_free(ticks)

    def test_many_threads_get_what_one_gets(self) -> None:
        """Sixteen of them at the same time."""
        retriever = self.open_retriever(make_tools(), k=2)
        requests = list(_REQUESTS.values()) * 8
        alone = [retriever.retrieve(request) for request in requests]
        with ThreadPoolExecutor(16) as threads:
            assert list(threads.map(retriever.retrieve, requests)) == alone


def make_tools() -> list[BaseTool]:
    """Six tools of one text argument; each answers "<its name> did: <the text>"."""
    return [_tool(name, what) for name, what in _WHAT.items()]


def _tool(name: str, what: str) -> BaseTool:
    def run(text: str) -> str:
        return f"{name} did: {text}"

    return FunctionTool.from_defaults(run, name=name, description=what)


def _unhurt(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:
        raise AssertionError(f"it failed with {type(error).__name__}: {error}") from error
