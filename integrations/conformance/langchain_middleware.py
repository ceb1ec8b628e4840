"""What middleware for LangChain's agents must do, above all one that chooses tools. Everything runs a real agent.

class TestMyToolSelection(ToolSelectionConformance):
    def make_middleware(self, **options):
        return MyToolSelection(my_encoder, **options)
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool

from integrations.conformance.loop_ticks import count_ticks
from integrations.conformance.scripted_chat_model import ScriptedChatModel, call_of

PROVIDER_TOOL = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
"""A tool that the provider of the model runs: agents hold it as a dict."""

_PURPOSES = {
    "book_train": "Buy a train ticket between two cities.",
    "forecast_weather": "Say whether rain, snow or sun is expected tomorrow.",
    "play_music": "Play a song by an artist on the loudspeaker.",
    "translate_text": "Translate a sentence into another language.",
    "open_garage": "Open the door of the garage at home.",
    "order_pizza": "Order a pizza with toppings for delivery.",
    "sell_shares": "Sell shares on the stock exchange.",
    "water_garden": "Water the flowers in the garden.",
    "measure_pulse": "Measure the pulse and the blood pressure of a patient.",
    "compile_code": "Compile source code and report the errors.",
    "print_photo": "Print a photo on glossy paper.",
    "feed_fish": "Feed the fish in the aquarium.",
}

REQUESTS = {
    "book_train": "I want to buy a train ticket",
    "play_music": "please play a song by this artist",
    "order_pizza": "order a pizza with toppings",
    "open_garage": "open the door of the garage",
}
"""Requests by the name of the tool that any encoder should find for them: they share most of their words."""


class MiddlewareConformance(ABC):
    """What every middleware must do that an agent is created with.

    Give `make_middleware`. Its options are keyword arguments of your constructor; tests of this class pass `name`.
    """

    @abstractmethod
    def make_middleware(self, **options: Any) -> AgentMiddleware[Any, Any, Any]:  # noqa: ANN401  (options of any type)
        """A new middleware."""

    @property
    def tools(self) -> list[BaseTool]:
        """The tools of the agents in these tests, in their order."""
        return list(_TOOLS)

    def agent(
        self, model: ScriptedChatModel, *middleware: AgentMiddleware[Any, Any, Any], tools: Sequence[Any] | None = None
    ) -> Any:  # noqa: ANN401  (a compiled graph, whose type has five parameters)
        """A real agent."""
        return create_agent(model, list(self.tools if tools is None else tools), middleware=middleware)

    def test_an_agent_with_it_answers(self) -> None:
        """The model's answer comes through; a middleware without sync methods fails here."""
        result = self.agent(ScriptedChatModel(responses=["done"]), self.make_middleware()).invoke(_asking())
        assert result["messages"][-1].content == "done"

    async def test_an_agent_with_it_answers_asynchronously(self) -> None:
        """As before; a middleware without async methods fails here."""
        result = await self.agent(ScriptedChatModel(responses=["done"]), self.make_middleware()).ainvoke(_asking())
        assert result["messages"][-1].content == "done"

    def test_the_messages_given_are_not_changed(self) -> None:
        """What the caller holds is the caller's."""
        message = HumanMessage("order a pizza", id="h1", additional_kwargs={"note": ["kept"]})
        before = message.model_copy(deep=True)
        self.agent(ScriptedChatModel(responses=["done"]), self.make_middleware()).invoke({"messages": [message]})
        assert message == before, "the message that was passed in has been changed"

    def test_two_of_them_work_in_one_agent_under_two_names(self) -> None:
        """LangChain refuses two of one name, so the name must be an option."""
        pair = [self.make_middleware(name="one"), self.make_middleware(name="two")]
        assert [middleware.name for middleware in pair] == ["one", "two"]
        result = self.agent(ScriptedChatModel(responses=["done"]), *pair).invoke(_asking())
        assert result["messages"][-1].content == "done"

    def test_what_it_keeps_for_itself_is_no_output_of_the_agent(self) -> None:
        """State of a middleware is marked private."""
        agent = self.agent(ScriptedChatModel(responses=["done"]), self.make_middleware())
        assert set(agent.invoke(_asking())) == {"messages"}

    def test_an_error_of_the_model_reaches_the_caller(self) -> None:
        """It is not taken for one of the middleware's own and swallowed."""

        def fail(_call: object) -> AIMessage:
            raise KeyError("the model failed")

        with pytest.raises(KeyError, match="the model failed"):
            self.agent(ScriptedChatModel(responses=fail), self.make_middleware()).invoke(_asking())


class ToolSelectionConformance(MiddlewareConformance):
    """What a middleware must do that shows the model some of an agent's tools.

    `make_middleware` gets `max_tools`, `always_include` and `name`, as LangChain's `LLMToolSelectorMiddleware` calls
    them. Give `make_slow_middleware` as well to have the event loop watched.
    """

    def make_slow_middleware(
        self,
        seconds: float,
        **options: Any,  # noqa: ANN401  (options of any type)
    ) -> AgentMiddleware[Any, Any, Any] | None:
        """A middleware whose encoder takes so long for one choice; None leaves the test out."""
        return None

    @pytest.mark.parametrize("wanted", REQUESTS)
    def test_the_tool_that_is_needed_is_among_the_few_shown(self, wanted: str) -> None:
        """Nothing more than `max_tools` is shown."""
        names = self.shown(REQUESTS[wanted], max_tools=3)
        assert wanted in names, f"{wanted} was not shown for a request made of its words, but {names}"
        assert len(names) == 3

    @pytest.mark.parametrize("wanted", REQUESTS)
    async def test_asynchronously_the_same_tools_are_shown(self, wanted: str) -> None:
        """Two code paths, one choice."""
        model = ScriptedChatModel(responses=["done"])
        await self.agent(model, self.make_middleware(max_tools=3)).ainvoke(_asking(REQUESTS[wanted]))
        assert model.calls[0].tool_names == self.shown(REQUESTS[wanted], max_tools=3)

    def test_tools_stay_in_the_order_of_the_agent(self) -> None:
        """Another order for each request would undo the provider's prompt cache."""
        order = [tool.name for tool in self.tools]
        for request in REQUESTS.values():
            names = self.shown(request, max_tools=5)
            assert names == sorted(names, key=order.index), f"tools were reordered: {names}"

    def test_with_few_tools_all_are_shown(self) -> None:
        """There is nothing to choose."""
        assert self.shown("order a pizza", max_tools=12) == [tool.name for tool in self.tools]

    def test_tools_of_the_provider_always_pass_and_do_not_count(self) -> None:
        """They are dicts, which no agent runs, and nothing about them can be searched."""
        names = self.shown("order a pizza with toppings", max_tools=2, tools=[*self.tools, PROVIDER_TOOL])
        assert "web_search" in names, "the provider's tool has been lost"
        assert len(names) == 3

    def test_tools_always_included_are_shown_and_do_not_count(self) -> None:
        """Under the names that LangChain's own selector uses."""
        names = self.shown("order a pizza with toppings", max_tools=2, always_include=["feed_fish"])
        assert {"feed_fish", "order_pizza"} <= set(names)
        assert len(names) == 3

    def test_an_unknown_tool_to_include_is_an_error_that_names_it(self) -> None:
        """A typo would otherwise be noticed by nobody."""
        with pytest.raises(ValueError, match="no_such_tool"):
            self.shown("order a pizza", max_tools=2, always_include=["no_such_tool"])

    def test_each_conversation_gets_its_own_tools(self) -> None:
        """What one request narrowed is whole again for the next, whichever agent it comes from."""
        model = ScriptedChatModel(responses=["done"] * 4)
        middleware = self.make_middleware(max_tools=2)
        agents = [self.agent(model, middleware), self.agent(model, middleware)]
        for position, (wanted, request) in enumerate(REQUESTS.items()):
            agents[position % 2].invoke(_asking(request))
            assert wanted in model.calls[position].tool_names

    def test_the_tool_chosen_is_run_and_the_loop_goes_on(self) -> None:
        """The answer of the tool reaches the model."""
        model = ScriptedChatModel(responses=[call_of("order_pizza", text="olives"), "done"])
        result = self.agent(model, self.make_middleware(max_tools=2)).invoke(_asking(REQUESTS["order_pizza"]))
        assert _tool_answers(result) == ["order_pizza: olives"]
        assert "order_pizza" in model.calls[1].tool_names

    async def test_the_tool_chosen_is_run_asynchronously(self) -> None:
        """As before."""
        model = ScriptedChatModel(responses=[call_of("order_pizza", text="olives"), "done"])
        agent = self.agent(model, self.make_middleware(max_tools=2))
        assert _tool_answers(await agent.ainvoke(_asking(REQUESTS["order_pizza"]))) == ["order_pizza: olives"]

    @pytest.mark.parametrize("text", ["", " \n"])
    def test_a_request_without_words_does_not_fail(self, text: str) -> None:
        """Agents do send them, with a picture or after a button was pressed."""
        assert len(self.shown(text, max_tools=2)) <= len(self.tools)

    async def test_the_event_loop_goes_on_while_tools_are_chosen(self) -> None:
        """An encoder at work must not stop a server."""
        middleware = self.make_slow_middleware(0.3, max_tools=2)
        if middleware is None:
            pytest.skip("make_slow_middleware is not given")
        model = ScriptedChatModel(responses=["done"])
        _, ticks = await count_ticks(self.agent(model, middleware).ainvoke(_asking(REQUESTS["play_music"])))
        assert ticks >= 10, f"the loop ran {ticks} times in 0.3 s; expected about 30"

    def shown(self, request: str, *, tools: Sequence[Any] | None = None, **options: Any) -> list[str]:  # noqa: ANN401
        """Names of the tools that the model is shown for a request, in order."""
        model = ScriptedChatModel(responses=["done"])
        self.agent(model, self.make_middleware(**options), tools=tools).invoke(_asking(request))
        return model.calls[0].tool_names


def _asking(text: str = "order a pizza") -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def _tool(name: str, purpose: str) -> BaseTool:
    return StructuredTool.from_function(lambda text="": f"{name}: {text}", name=name, description=purpose)


_TOOLS = tuple(_tool(name, purpose) for name, purpose in _PURPOSES.items())


def _tool_answers(result: dict[str, Any]) -> list[str]:
    return [message.text for message in result["messages"] if isinstance(message, ToolMessage)]
