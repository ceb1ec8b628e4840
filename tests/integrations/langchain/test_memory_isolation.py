"""Memories of agents stay with their user, whatever comes between; nothing waits for the encoder but its own run."""

import asyncio
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.runtime import Runtime

from integrations.conformance.langchain_memory import MemoryMiddlewareConformance
from integrations.langchain import RagMemoryMiddleware
from rag_embedder import Document, KnowledgeRetriever, MemoryRetriever
from tests.integrations.langchain.memory_agents import agent_with, say, shown
from tests.retriever_cases import Watched, WordEncoder


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def memory(watched):
    with MemoryRetriever(watched) as opened:
        yield opened


class TestRagMemoryMiddleware(MemoryMiddlewareConformance):
    def make_middleware(self):
        return RagMemoryMiddleware(MemoryRetriever(WordEncoder()))


class TestWithRecencyAndThreshold(MemoryMiddlewareConformance):
    def make_middleware(self):
        return RagMemoryMiddleware(MemoryRetriever(WordEncoder()), recency=0.2, score_threshold=0.05, name="m")


class Naive(AgentMiddleware):
    """What one writes first: one store for all, the user's filter after the search, memories as a message."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.store = KnowledgeRetriever(WordEncoder())
        self.filter = {}

    def before_agent(self, state, runtime):
        asked = state["messages"][-1].text
        user = (runtime.context or {}).get("user_id")
        if self.fault == "first user's filter":  # a filter made once and kept
            self.filter.setdefault("user", user)
            hits = self.store.retrieve(asked, 5, filter=self.filter)
        elif self.fault == "filter after top-k":
            hits = [hit for hit in self.store.retrieve(asked, 5) if hit.item.metadata["user"] == user]
        else:
            hits = self.store.retrieve(asked, 5, filter={"user": user}) if user else []
        self.store.add([Document(asked, id=f"{len(self.store)}", metadata={"user": user or ""})])
        found = "\n".join(hit.item.text for hit in hits)
        return {"messages": [SystemMessage(f"memories:\n{found}"), *state["messages"]]} if found else None

    async def abefore_agent(self, state, runtime):
        return self.before_agent(state, runtime)


@pytest.mark.parametrize(
    ("fault", "test", "reason"),
    [
        ("first user's filter", "test_nobody_else_is_shown_it", "a memory of another user was shown to bob"),
        ("filter after top-k", "test_a_user_with_few_memories_is_served_among_many", "pushed the user's own out"),
        ("a message", "test_the_threads_messages_hold_no_memories", "holds more than what was said"),
        ("a message", "test_what_the_thread_shows_is_not_recalled", "2 times"),
    ],
)
def test_the_suite_fails_on_a_naive_memory(fault, test, reason):
    class OnNaive(MemoryMiddlewareConformance):
        def make_middleware(self):
            return Naive(fault)

    with pytest.raises(AssertionError, match=reason):
        getattr(OnNaive(), test)()


def test_the_suite_fails_on_a_memory_without_users():
    class OnNaive(MemoryMiddlewareConformance):
        def make_middleware(self):
            return Naive("a message")

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        OnNaive().test_a_run_without_user_is_refused()


USERS = ("ann", "bob", "eve")


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(USERS), st.sampled_from(["s1", "s2", "s3"]), st.integers(0, 4), st.booleans()),
        min_size=1,
        max_size=14,
    )
)
def test_interleaved_users_and_sessions_never_meet(steps):
    with MemoryRetriever(WordEncoder()) as memory:
        agent, model = agent_with(
            RagMemoryMiddleware(memory, k=3, max_tokens=4000), answer=lambda call: "reply", checkpointer=InMemorySaver()
        )
        alone, alone_model = agent_with(
            RagMemoryMiddleware(memory, k=3, max_tokens=4000, across_sessions=False, write=False)
        )
        said = {user: set() for user in USERS}
        for user, session, number, is_async in steps:
            thread = f"{user}-{session}"
            text = f"my number{number} secret-of-{user}-{session}"
            given_ = ({"messages": [HumanMessage(text)]}, {"configurable": {"thread_id": thread}})
            if is_async:
                asyncio.run(agent.ainvoke(*given_, context={"user_id": user}))
            else:
                agent.invoke(*given_, context={"user_id": user})
            prompt = shown(model.calls[-1])
            for other in set(USERS) - {user}:
                assert f"secret-of-{other}" not in prompt
            if said[user] - {session}:
                assert any(f"secret-of-{user}-{earlier}" in prompt for earlier in said[user] - {session})
            said[user].add(session)
            say(alone, "my secret", user=user, session_id=thread)
            only = shown(alone_model.calls[-1])
            assert f"secret-of-{user}-{session}" in only
            assert not any(
                f"secret-of-{u}-{s}" in only for u in USERS for s in ("s1", "s2", "s3") if (u, s) != (user, session)
            )


@contextmanager
def ticking():
    ticks = []

    async def tick():
        while True:
            await asyncio.sleep(0.01)
            ticks.append(1)

    ticker = asyncio.create_task(tick())
    yield ticks
    ticker.cancel()


async def test_recalling_and_remembering_leave_the_loop_free(memory, watched):
    memory.add_turns([{"role": "user", "content": "my cat is blue"}], user="ann")
    agent, model = agent_with(RagMemoryMiddleware(memory))
    watched.seconds = 0.25  # once for the query, once for what is written
    with ticking() as ticks:
        await agent.ainvoke({"messages": [HumanMessage("my cat")]}, context={"user_id": "ann"})
    assert "blue" in shown(model.calls[0])
    assert memory.count("ann") == 2
    assert len(ticks) >= 20


async def test_a_naive_async_hook_blocks_the_loop(watched):
    naive = Naive("filter after top-k")
    watched.seconds = 0.25
    naive.store = KnowledgeRetriever(watched)
    naive.store.add([Document("x", metadata={"user": "ann"})])
    state = {"messages": [HumanMessage("my cat")]}
    with ticking() as ticks:
        await naive.abefore_agent(state, Runtime(context={"user_id": "ann"}))
    assert len(ticks) <= 1


def test_sixteen_threads_of_sixteen_users_keep_apart(memory):
    agent, _ = agent_with(RagMemoryMiddleware(memory, max_tokens=2000), answer=shown)
    failures = []

    def work(number):
        try:
            user = f"user{number:02}"
            for n in range(5):
                result = say(agent, f"my secret{number:02} number{n}", user=user, session_id=f"s{n}")
                answer = result["messages"][-1].text
                assert answer.count("secret") == answer.count(f"secret{number:02}") > 0
                if n:
                    assert "number0" in answer
        except Exception as fault:  # noqa: BLE001  (shown below)
            failures.append(fault)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [memory.count(f"user{n:02}") for n in range(16)] == [5] * 16


@pytest.mark.parametrize(
    ("mode", "carries"),
    [("messages", False), ("custom", False), *((mode, True) for mode in ("values", "updates", "tasks", "checkpoints"))],
)
def test_recalled_memories_are_in_streams_of_state_and_in_no_others(memory, mode, carries):
    memory.add_turns([{"role": "user", "content": "my cat is blue"}], user="ann")
    agent, _ = agent_with(RagMemoryMiddleware(memory), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    given = {"messages": [HumanMessage("my cat")]}
    parts = list(agent.stream(given, config, context={"user_id": "ann"}, stream_mode=mode))
    assert ("blue" in str(parts)) == carries
    assert "blue" in str(agent.get_state(config))
