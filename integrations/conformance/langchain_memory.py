"""Does a memory middleware keep its users apart, and the thread clean? Subclass `MemoryMiddlewareConformance`.

    class TestMyMemory(MemoryMiddlewareConformance):
        def make_middleware(self):
            return MyMemoryMiddleware(empty_store())

Every test runs a real `create_agent` with a scripted model, once sync and once async.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from integrations.conformance.scripted_chat_model import ModelCall, ScriptedChatModel, call_of


class UserContext(TypedDict):
    """The context every run is given."""

    user_id: str


Ask = Callable[[str, str, str], list[AnyMessage]]
"""Say a text as a user in a thread; the thread's messages afterwards."""

_FACT = "my cat is called Miso"
_QUESTION = "what is my cat called"


class MemoryMiddlewareConformance:
    """What a user said is shown to the model later, to nobody else, and never becomes a message of the thread.

    The middleware must read the user from `context["user_id"]`, take the thread for the session, and find texts that
    share words.
    """

    def make_middleware(self) -> AgentMiddleware[Any, Any, Any]:
        """A middleware over a memory that is empty."""
        raise NotImplementedError(f"{type(self).__name__}.make_middleware")

    def test_what_was_said_in_another_thread_is_shown(self) -> None:
        """Recall across threads."""
        for ask, model in self._agents():
            ask("ann", "t1", _FACT)
            ask("ann", "t2", _QUESTION)
            assert "Miso" in _shown(model.calls[-1]), "what the user said before is not shown to the model"

    def test_nobody_else_is_shown_it(self) -> None:
        """Two users in turn, in threads of their own."""
        for ask, model in self._agents():
            ask("ann", "t1", _FACT)
            ask("bob", "t2", "my cat is called Pixel")
            for user, thread, own, other in (("bob", "t3", "Pixel", "Miso"), ("ann", "t4", "Miso", "Pixel")):
                ask(user, thread, _QUESTION)
                assert other not in _shown(model.calls[-1]), f"a memory of another user was shown to {user}"
                assert own in _shown(model.calls[-1]), f"{user}'s own memory is not shown"

    def test_a_user_with_few_memories_is_served_among_many(self) -> None:
        """Thirty nearer memories of another user take nobody's place: users are told apart before ranking."""
        for ask, model in self._agents():
            ask("ann", "t1", _FACT)
            for n in range(30):
                ask("bob", f"b{n}", f"{_QUESTION} {n}")
            ask("ann", "t2", _QUESTION)
            assert "Miso" in _shown(model.calls[-1]), "memories of other users pushed the user's own out"

    def test_a_run_without_user_is_refused(self) -> None:
        """Before the model is called."""
        model = ScriptedChatModel(responses=lambda call: "fine")
        agent = create_agent(model, middleware=[self.make_middleware()], context_schema=UserContext)
        for context in (None, {}, {"user_id": None}, {"user_id": ""}):
            with pytest.raises(Exception, match="user"):
                agent.invoke({"messages": [{"role": "user", "content": "hello"}]}, context=context)  # pyright: ignore
        assert model.calls == []

    def test_the_threads_messages_hold_no_memories(self) -> None:
        """However long the thread: what was said, and nothing else."""
        for ask, model in self._agents():
            ask("ann", "t1", _FACT)
            for n in range(1, 4):
                messages = ask("ann", "t2", f"{_QUESTION} {n}")
                assert "Miso" in _shown(model.calls[-1])
                said = [(message.type, str(message.text)) for message in messages]
                expected = [pair for m in range(1, n + 1) for pair in (("human", f"{_QUESTION} {m}"), ("ai", "ok"))]
                assert said == expected, f"the thread holds more than what was said: {said}"

    def test_what_the_thread_shows_is_not_recalled(self) -> None:
        """The model reads the present conversation once."""
        for ask, model in self._agents():
            ask("ann", "t1", _FACT)
            ask("ann", "t1", _QUESTION)
            times = _shown(model.calls[-1]).count("Miso")
            assert times == 1, f"the model reads one message of this thread {times} times"

    def test_nothing_to_recall_leaves_the_request_alone(self) -> None:
        """A new user's model call is what it is without a memory."""
        for ask, model in self._agents(system_prompt="be kind"):
            ask("ann", "t1", _FACT)
            request = [(message.type, str(message.text)) for message in model.calls[0].messages]
            expected = [("system", "be kind"), ("human", _FACT)]
            assert request == expected, f"the request of a new user was changed: {request}"

    def test_the_system_prompt_stays_and_comes_first(self) -> None:
        """A provider's prompt cache keeps the part that does not change."""
        for ask, model in self._agents(system_prompt="be kind"):
            ask("ann", "t1", _FACT)
            ask("ann", "t2", _QUESTION)
            assert _shown(model.calls[-1]).startswith("be kind"), "memories stand before the system prompt"

    def test_all_model_calls_of_a_run_see_the_same(self) -> None:
        """The system message does not change between the calls of a tool loop."""

        def answer(call: ModelCall) -> AIMessage | str:
            is_asked_again = any(message.type == "tool" for message in call.messages)
            return "it is sunny" if is_asked_again or "weather" not in call.messages[-1].text else call_of("weather")

        for ask, model in self._agents(answer=answer, tools=[weather]):
            ask("ann", "t1", "my cat likes the weather report")
            start = len(model.calls)
            ask("ann", "t2", "which weather does my cat like")
            first, second = model.calls[start:]
            assert "report" in _shown(first), "what the user said before is not shown to the model"
            systems = [
                [message.content for message in call.messages if isinstance(message, SystemMessage)]
                for call in (first, second)
            ]
            assert systems[0] == systems[1], "the system message changes within a run"

    def test_what_tools_said_is_not_remembered(self) -> None:
        """The user's words and the agent's answers are; a tool's result is not."""

        def answer(call: ModelCall) -> AIMessage | str:
            if call.messages[-1].type == "tool":
                return "it will be sunny in Oslo"
            return call_of("weather") if call.messages[-1].text == "how is the weather" else "ok"

        for ask, model in self._agents(answer=answer, tools=[weather]):
            ask("ann", "t1", "how is the weather")
            ask("ann", "t2", "what was said about the weather in Oslo")
            shown = _shown(model.calls[-1])
            assert "sunny in Oslo" in shown, "the agent's answer is not remembered"
            assert "station 4711" not in shown, "a tool's result is remembered"

    def _agents(
        self,
        *,
        answer: Callable[[ModelCall], AIMessage | str] = lambda call: "ok",
        tools: Sequence[Any] = (),
        system_prompt: str | None = None,
    ) -> Iterator[tuple[Ask, ScriptedChatModel]]:
        for is_async in (False, True):
            model = ScriptedChatModel(responses=answer)
            agent = create_agent(
                model,
                tools=list(tools),
                system_prompt=system_prompt,
                middleware=[self.make_middleware()],
                context_schema=UserContext,
                checkpointer=InMemorySaver(),
            )
            yield _asker(agent, is_async=is_async), model


def weather() -> str:
    """Tell the weather."""
    return "sun, says station 4711"


def _asker(agent: Any, *, is_async: bool) -> Ask:  # noqa: ANN401  (a compiled graph with five type parameters)
    def ask(user: str, thread: str, text: str) -> list[AnyMessage]:
        given = {"messages": [{"role": "user", "content": text}]}
        config: RunnableConfig = {"configurable": {"thread_id": thread}}
        context = {"user_id": user}
        if is_async:
            return asyncio.run(agent.ainvoke(given, config, context=context))["messages"]
        return agent.invoke(given, config, context=context)["messages"]

    return ask


def _shown(call: ModelCall) -> str:
    return "\n".join(str(message.text) for message in call.messages)
