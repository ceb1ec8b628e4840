"""What a memory keeps of runs that break off, are left open or are resumed, and for whom."""

import asyncio

import pytest
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, hook_config
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command, interrupt

from integrations.conformance.langchain_memory import weather
from integrations.conformance.scripted_chat_model import call_of
from integrations.langchain import RagMemoryMiddleware
from rag_embedder import MemoryRetriever
from rag_embedder.errors import InputError, UserRequiredError
from tests.integrations.langchain.memory_agents import agent_with, exchanges, say, shown
from tests.retriever_cases import Watched, WordEncoder


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def memory(watched):
    with MemoryRetriever(watched) as opened:
        yield opened


def ask(agent, given, *, is_async, user="ann", thread="t", limit=100):
    config = {"configurable": {"thread_id": thread}, "recursion_limit": limit}
    given = {"messages": [HumanMessage(given)]} if isinstance(given, str) else given
    if is_async:
        return asyncio.run(agent.ainvoke(given, config, context={"user_id": user}))
    return agent.invoke(given, config, context={"user_id": user})


def order_food() -> str:
    """Order food."""
    raise RuntimeError("the kitchen is closed")


def ask_person() -> str:
    """Ask a person."""
    return interrupt("allowed?")


def calling(name, words=""):
    """A model that calls a tool for every message that begins with "do"."""

    def answer(call):
        if call.messages[-1].type == "human" and call.messages[-1].text.startswith("do"):
            content = [{"type": "text", "text": words}] if words else ""
            return AIMessage(content, tool_calls=call_of(name).tool_calls)
        return "fine"

    return answer


def texts(memory, user="ann"):
    return [text for _, _, text in exchanges(memory, user)]


@pytest.mark.parametrize("is_async", [False, True])
def test_words_of_a_run_whose_tool_failed_are_remembered_with_the_next_message(memory, is_async):
    agent, _ = agent_with(
        RagMemoryMiddleware(memory),
        answer=calling("order_food", "let me order"),
        tools=[order_food],
        checkpointer=InMemorySaver(),
    )
    with pytest.raises(RuntimeError, match="the kitchen is closed"):
        ask(agent, "do order food, I am allergic to nuts", is_async=is_async)
    assert len(memory) == 0
    ask(agent, "ok, thanks anyway", is_async=is_async)
    assert texts(memory) == [
        "user: do order food, I am allergic to nuts\nassistant: let me order",
        "user: ok, thanks anyway\nassistant: fine",
    ]
    ask(agent, "bye", is_async=is_async)
    assert texts(memory)[2:] == ["user: bye\nassistant: fine"]


@pytest.mark.parametrize("is_async", [False, True])
def test_words_of_a_run_left_open_are_remembered_with_the_next_message(memory, is_async):
    agent, _ = agent_with(
        RagMemoryMiddleware(memory), answer=calling("ask_person"), tools=[ask_person], checkpointer=InMemorySaver()
    )
    assert "__interrupt__" in ask(agent, "do buy nuts for my sister", is_async=is_async)
    ask(agent, "never mind", is_async=is_async)
    assert texts(memory) == ["user: do buy nuts for my sister", "user: never mind\nassistant: fine"]


def test_words_of_a_run_that_reached_the_recursion_limit_are_remembered_with_the_next_message(memory):
    def loop(call):
        return "fine" if call.messages[-1].text == "stop" else call_of("weather")

    agent, _ = agent_with(RagMemoryMiddleware(memory), answer=loop, tools=[weather], checkpointer=InMemorySaver())
    with pytest.raises(GraphRecursionError):
        ask(agent, "I live in Oslo, how is the weather", is_async=False, limit=8)
    ask(agent, "stop", is_async=False)
    assert texts(memory) == ["user: I live in Oslo, how is the weather", "user: stop\nassistant: fine"]


def test_a_run_whose_model_failed_is_remembered_once_whatever_comes_next(memory):
    faults = [OSError("down"), None, OSError("down"), None]

    def answer(call):
        if fault := faults.pop(0):
            raise fault
        return "fine"

    agent, _ = agent_with(RagMemoryMiddleware(memory), answer=answer, checkpointer=InMemorySaver())
    for text in ("my cat is blue", "and my dog is red"):
        try:
            ask(agent, text, is_async=False)
        except OSError:
            continue
    assert texts(memory) == ["user: my cat is blue", "user: and my dog is red\nassistant: fine"]
    for _ in range(2):
        try:
            ask(agent, "my fish is wet", is_async=False)
        except OSError:
            continue
    assert texts(memory)[2:] == ["user: my fish is wet\nassistant: fine"]


def test_without_a_checkpointer_a_history_with_an_unanswered_call_is_asked_again(memory):
    agent, _ = agent_with(RagMemoryMiddleware(memory))
    history = [HumanMessage("my cat is blue"), call_of("order_food"), HumanMessage("hello?")]
    agent.invoke({"messages": history}, context={"user_id": "ann"})
    assert texts(memory) == ["user: my cat is blue", "user: hello?\nassistant: ok"]


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()])
def test_a_run_that_ends_with_a_tools_result_is_remembered_once(memory, checkpointer):
    final = tool(return_direct=True)(weather)
    agent, _ = agent_with(
        RagMemoryMiddleware(memory), answer=calling("weather"), tools=[final], checkpointer=checkpointer
    )
    messages = []
    for n in range(3):
        given = [HumanMessage(f"do {n}")]
        messages = ask(agent, {"messages": given if checkpointer else [*messages, *given]}, is_async=False)["messages"]
    assert isinstance(messages[-1], ToolMessage)
    assert texts(memory) == ["user: do 0", "user: do 1", "user: do 2"]


def test_what_a_user_left_in_a_thread_is_remembered_for_that_user_whoever_comes_next(memory):
    agent, _ = agent_with(
        RagMemoryMiddleware(memory), answer=calling("order_food"), tools=[order_food], checkpointer=InMemorySaver()
    )
    with pytest.raises(RuntimeError):
        ask(agent, "do order, I am allergic to nuts", is_async=False)
    ask(agent, "hello", is_async=False, user="bob")
    assert texts(memory, "ann") == ["user: do order, I am allergic to nuts"]
    assert texts(memory, "bob") == ["user: hello\nassistant: fine"]


def test_a_memory_that_only_recalls_keeps_nothing_of_broken_runs(memory):
    agent, _ = agent_with(
        RagMemoryMiddleware(memory, write=False),
        answer=calling("order_food"),
        tools=[order_food],
        checkpointer=InMemorySaver(),
    )
    with pytest.raises(RuntimeError):
        ask(agent, "do order", is_async=False)
    ask(agent, "hello", is_async=False)
    assert len(memory) == 0


def test_when_what_was_left_cannot_be_kept_the_run_fails_and_the_next_one_keeps_it(memory, watched):
    agent, model = agent_with(
        RagMemoryMiddleware(memory), answer=calling("order_food"), tools=[order_food], checkpointer=InMemorySaver()
    )
    with pytest.raises(RuntimeError):
        ask(agent, "do order nuts", is_async=False)
    watched.failure = OSError("disk")
    with pytest.raises(OSError, match="disk"):
        ask(agent, "hello", is_async=False)
    watched.failure = None
    assert len(model.calls) == 1
    ask(agent, "again", is_async=False)
    assert texts(memory) == ["user: do order nuts", "user: hello", "user: again\nassistant: fine"]


class Blocking(AgentMiddleware):
    """Ends a run before it begins, as a filter of contents does."""

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state, runtime):
        if "blocked" not in state["messages"][-1].text:
            return None
        return {"messages": [AIMessage("I may not")], "jump_to": "end"}


def test_a_run_that_a_filter_ended_is_no_memory_and_repeats_none(memory):
    agent, _ = agent_with(Blocking(), RagMemoryMiddleware(memory), checkpointer=InMemorySaver())
    for text in ("my cat", "blocked words", "my dog"):
        ask(agent, text, is_async=False)
    assert texts(memory) == ["user: my cat\nassistant: ok", "user: my dog\nassistant: ok"]


class SecondLook(AgentMiddleware):
    """Lets the model answer once more after the end."""

    @hook_config(can_jump_to=["model"])
    def after_agent(self, state, runtime):
        return {"jump_to": "model"} if state["messages"][-1].text == "first" else None


def test_a_second_answer_after_the_end_completes_the_memory(memory):
    memory.add_turns([{"role": "user", "content": "the cat is blue"}], user="ann")
    agent, model = agent_with(
        SecondLook(), RagMemoryMiddleware(memory), answer=lambda call: "first" if len(model.calls) == 1 else "second"
    )
    say(agent, "my cat", thread="t")
    assert exchanges(memory)[1:] == [("t", 0, "user: my cat\nassistant: first\nassistant: second")]
    assert all("the cat is blue" in shown(call) for call in model.calls)


def paint(log):
    def paint() -> str:
        """Paint."""
        log.append("painted")
        return "painted"

    return paint


@pytest.mark.parametrize("is_async", [False, True])
def test_an_approved_tool_does_not_run_for_another_user(memory, is_async):
    painted = []
    agent, model = agent_with(
        RagMemoryMiddleware(memory),
        HumanInTheLoopMiddleware(interrupt_on={"paint": True}),
        answer=calling("paint"),
        tools=[paint(painted)],
        checkpointer=InMemorySaver(),
    )
    approve = Command(resume={"decisions": [{"type": "approve"}]})
    ask(agent, "do paint my cat", is_async=is_async, user="hugo")
    with pytest.raises(
        InputError, match=r"another user.*The tool was not called.*nothing was.*remembered.*stays in the thread"
    ):
        ask(agent, approve, is_async=is_async, user="mallory")
    assert (painted, len(model.calls), len(memory)) == ([], 1, 0)
    # The decision itself was taken in by another middleware: so the message says.
    ask(agent, None, is_async=is_async, user="hugo")
    assert painted == ["painted"]
    assert texts(memory, "hugo") == ["user: do paint my cat\nassistant: fine"]
    assert memory.count("mallory") == 0


@pytest.mark.parametrize("is_async", [False, True])
def test_a_refused_tool_of_another_users_run_says_what_may_have_happened(memory, is_async):
    agent, model = agent_with(
        RagMemoryMiddleware(memory),
        HumanInTheLoopMiddleware(interrupt_on={"paint": True}),
        answer=calling("paint"),
        tools=[paint([])],
        checkpointer=InMemorySaver(),
    )
    ask(agent, "do paint my cat", is_async=is_async, user="hugo")
    with pytest.raises(InputError, match=r"another user.*Nothing was recalled or remembered.*may have run"):
        ask(agent, Command(resume={"decisions": [{"type": "reject"}]}), is_async=is_async, user="mallory")
    assert len(model.calls) == 1


def test_a_run_resumed_without_its_context_calls_no_tool_and_says_what_to_give(memory):
    painted = []
    agent, _ = agent_with(
        RagMemoryMiddleware(memory),
        HumanInTheLoopMiddleware(interrupt_on={"paint": True}),
        answer=calling("paint"),
        tools=[paint(painted)],
        checkpointer=InMemorySaver(),
    )
    ask(agent, "do paint my cat", is_async=False)
    with pytest.raises(UserRequiredError, match="also to resume a run"):
        agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), {"configurable": {"thread_id": "t"}})
    assert painted == []
