import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.objects import ObjectRetriever
from llama_index.core.tools import FunctionTool

from integrations.conformance.scripted_llm import ScriptedLLM, call_of
from integrations.llama_index import RagToolRetriever
from tests.integrations.llama_index.test_tools import FUNCTIONS, get_weather, naive_retriever, names, our_retriever
from tests.retriever_cases import Watched, WordEncoder

# LlamaIndex's agents read all attributes of themselves, pydantic's deprecated ones included.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.mark.parametrize(("open_retriever", "answer"), [(naive_retriever, "not found"), (our_retriever, "did: now")])
async def test_an_agent_runs_the_tool_its_model_called_only_if_the_name_finds_it(open_retriever, answer):
    # A name that says nothing, and a tool whose description is full of that word: agents look tools up by their names.
    def fn(text: str) -> str:
        return f"fn did: {text}"

    right = FunctionTool.from_defaults(fn, name="fn", description="open the garage door of the house tonight")
    wrong = FunctionTool.from_defaults(fn, name="other", description="fn fn fn fn fn fn fn fn")
    model = ScriptedLLM(responses=[call_of("fn", text="now"), "done"])
    agent = FunctionAgent(llm=model, tool_retriever=open_retriever([right, wrong], k=1))
    await agent.run(user_msg="open the garage door")
    assert model.calls[0].tool_names == ("fn",)
    assert answer in model.calls[1].text


async def test_a_tool_the_agent_has_already_is_offered_twice_unless_excluded(watched):
    weather = FunctionTool.from_defaults(get_weather)
    with (
        RagToolRetriever([weather, *FUNCTIONS[1:]], watched, k=2) as all_of_them,
        RagToolRetriever(retriever=all_of_them.registry, k=2, exclude=["get_weather"]) as others,
    ):
        for retriever, shown in (
            (naive_retriever([weather, *map(FunctionTool.from_defaults, FUNCTIONS[1:])], k=2), 2),
            (all_of_them, 2),
            (others, 1),
        ):
            model = ScriptedLLM(responses=[call_of("get_weather", city="Oslo"), "done"])
            agent = FunctionAgent(llm=model, tools=[weather], tool_retriever=retriever)
            await agent.run(user_msg="the weather forecast of a city")
            assert model.calls[0].tool_names.count("get_weather") == shown
            assert "rain in Oslo" in model.calls[1].text
        assert len(others.retrieve("the weather forecast of a city")) == 2  # no place is left empty
        assert "get_weather" not in names(others.retrieve("get_weather"))


async def test_callables_become_tools_that_agents_run_sync_and_async(watched):
    with RagToolRetriever(FUNCTIONS, watched, k=3) as retriever:
        assert isinstance(retriever, ObjectRetriever)
        found = retriever.retrieve("play music by an artist")
        assert names(found)[0] == "play_music"
        assert all(isinstance(tool, FunctionTool) for tool in found)
        assert [id(tool) for tool in retriever.retrieve("play music by an artist")] == [id(tool) for tool in found]
        model = ScriptedLLM(responses=[call_of("play_music", artist="Bach"), call_of("get_weather", city="Rome"), "ok"])
        agent = FunctionAgent(llm=model, tool_retriever=retriever)
        assert str(await agent.run(user_msg="play music by an artist")) == "ok"
        assert "playing Bach" in model.calls[1].text
        assert "rain in Rome" in model.calls[2].text


async def test_two_agents_of_a_workflow_share_a_registry(watched):
    with RagToolRetriever(FUNCTIONS, watched, k=1) as retriever:
        only_mail = RagToolRetriever(retriever=retriever.registry, k=1, exclude=["get_weather", "play_music"])
        model = ScriptedLLM(responses=[call_of("handoff", to_agent="mail", reason="mail"), "sent"])
        workflow = AgentWorkflow(
            agents=[
                FunctionAgent(name="all", description="all", llm=model, tool_retriever=retriever),
                FunctionAgent(name="mail", description="mail", llm=model, tool_retriever=only_mail),
            ],
            root_agent="all",
        )
        await workflow.run(user_msg="the weather forecast of a city")
        assert set(model.calls[0].tool_names) == {"get_weather", "handoff"}
        assert set(model.calls[1].tool_names) == {"send_email", "handoff"}


async def test_a_message_without_text_gets_the_pinned_tools(watched):
    with RagToolRetriever(FUNCTIONS, watched, k=1, pinned=["send_email"]) as retriever:
        model = ScriptedLLM(responses=["hello"])
        await FunctionAgent(llm=model, tool_retriever=retriever).run(user_msg=ChatMessage(role="user", blocks=[]))
        assert model.calls[0].tool_names == ("send_email",)
    assert watched.queries == []
