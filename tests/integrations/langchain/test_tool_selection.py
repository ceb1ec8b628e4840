"""The tools a model is shown, through real agents: few, in order, kept as long as asked, and run when called."""

import asyncio
import contextvars
import functools
import itertools
import logging
import math
import threading

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ProviderToolSearchMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from integrations.conformance.langchain_middleware import PROVIDER_TOOL, ToolSelectionConformance
from integrations.conformance.loop_ticks import count_ticks
from integrations.conformance.scripted_chat_model import ScriptedChatModel, call_of
from integrations.langchain import RagToolSelectorMiddleware
from rag_embedder import Tool, ToolRetriever
from rag_embedder.errors import ConfigError, InputError, ModelLoadError
from rag_embedder.retrievers.base import in_thread
from tests.retriever_cases import Watched, WordEncoder

VERBS = ("open", "wash", "paint", "sell", "lift", "count")
NOUNS = ("door", "car", "boat", "stone", "fence", "kettle", "coat", "anchor")
ALL = [f"{verb}_{noun}" for noun, verb in itertools.product(NOUNS, VERBS)]


def make_tool(name, description=None, **more):
    text = description or f"{name.replace('_', ' the ')}."
    return StructuredTool.from_function(lambda: f"{name} done", name=name, description=text, **more)


@functools.cache
def shared_tool(name):
    return make_tool(name)


def make_tools(names=ALL):
    return [shared_tool(name) for name in names]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


def asked(text, **more):
    return {"messages": [HumanMessage(text)], **more}


def thread(name):
    return {"configurable": {"thread_id": name}}


def run(middleware, *texts, tools=None, responses=None, **options):
    """The model after it was asked each text in one thread."""
    model = ScriptedChatModel(responses=responses or ["done"] * len(texts))
    agent = create_agent(
        model,
        make_tools() if tools is None else tools,
        middleware=[middleware],
        checkpointer=InMemorySaver(),
        **options,
    )
    for text in texts:
        agent.invoke(asked(text), thread("t"))
    return model


def shown(middleware, *texts, **more):
    """What the model was shown at each of its calls."""
    return [call.tool_names for call in run(middleware, *texts, **more).calls]


class TestConformance(ToolSelectionConformance):
    def make_middleware(self, **options):
        return RagToolSelectorMiddleware(WordEncoder(), **options)

    def make_slow_middleware(self, seconds, **options):
        watched = Watched(WordEncoder())
        watched.seconds = seconds
        return RagToolSelectorMiddleware(watched, **options)


class TestConformanceByThread(ToolSelectionConformance):
    def make_middleware(self, **options):
        return RagToolSelectorMiddleware(WordEncoder(), stickiness="thread", **options)


class TestConformanceOfARegistry(ToolSelectionConformance):
    def make_middleware(self, **options):
        registry = ToolRetriever(WordEncoder())
        registry.add(self.tools)
        return RagToolSelectorMiddleware(registry=registry, **options)


class NaiveSelector(AgentMiddleware):
    """Fifteen lines that anyone would write first: no dicts, order of the ranking, everything on the event loop."""

    def __init__(self, encoder, max_tools=8, always_include=()):
        super().__init__()
        self.encoder, self.max_tools = encoder, max_tools

    def narrow(self, request):
        tools = [tool for tool in request.tools if not isinstance(tool, dict)]
        vectors = self.encoder.encode_documents([f"{tool.name}: {tool.description}" for tool in tools], "tool")
        (query,) = self.encoder.encode_queries([request.messages[-1].text], "tool")
        ranked = sorted(zip(vectors @ query, range(len(tools)), strict=True), reverse=True)
        return request.override(tools=[tools[position] for _, position in ranked[: self.max_tools]])

    def wrap_model_call(self, request, handler):
        return handler(self.narrow(request))

    async def awrap_model_call(self, request, handler):
        return await handler(self.narrow(request))


class NaiveConformance(ToolSelectionConformance):
    def make_middleware(self, **options):
        return NaiveSelector(WordEncoder(), **options)

    def make_slow_middleware(self, seconds, **options):
        watched = Watched(WordEncoder())
        watched.seconds = seconds
        return NaiveSelector(watched, **options)


@pytest.mark.parametrize(
    "test",
    [
        "test_tools_stay_in_the_order_of_the_agent",
        "test_tools_of_the_provider_always_pass_and_do_not_count",
        "test_tools_always_included_are_shown_and_do_not_count",
        "test_with_few_tools_all_are_shown",
    ],
)
def test_the_conformance_suite_fails_a_naive_selector(test):
    with pytest.raises(AssertionError):
        getattr(NaiveConformance(), test)()


async def test_the_conformance_suite_fails_a_selector_that_blocks_the_loop():
    with pytest.raises(AssertionError, match="the loop ran"):
        await NaiveConformance().test_the_event_loop_goes_on_while_tools_are_chosen()


async def test_a_naive_selector_blocks_the_loop_and_ours_does_not(watched):
    watched.seconds = 0.3
    agents = [
        create_agent(ScriptedChatModel(responses=["done"]), make_tools(ALL[:20]), middleware=[middleware])
        for middleware in (NaiveSelector(watched), RagToolSelectorMiddleware(watched))
    ]
    (_, naive), (_, ours) = [await count_ticks(agent.ainvoke(asked("wash the car"))) for agent in agents]
    # The naive one blocks twice, for documents and for the query; around that the agent itself lets the loop run.
    assert ours >= 20
    assert naive < ours / 3


def test_eight_of_two_hundred_tools_are_shown_in_the_order_of_the_agent():
    every = [*ALL, *(f"{verb}_thing{number}" for number in range(26) for verb in VERBS)][:200]
    (names,) = shown(RagToolSelectorMiddleware(WordEncoder()), "please wash the car", tools=make_tools(every))
    assert len(every) == 200
    assert len(names) == 8
    assert "wash_car" in names
    assert names == sorted(names, key=every.index)


def test_with_no_more_tools_than_allowed_nothing_is_encoded(watched):
    (names,) = shown(RagToolSelectorMiddleware(watched), "wash the door", tools=make_tools(ALL[:8]))
    assert names == ALL[:8]
    assert watched.documents == watched.queries == []


def test_unchanged_tools_are_encoded_once_and_a_changed_one_again(watched):
    middleware = RagToolSelectorMiddleware(watched)
    shown(middleware, "wash the car", "sell the boat")
    assert len(watched.documents) == len(ALL)
    shown(middleware, "wash the car", tools=[make_tool(name) for name in ALL[:30]])  # other objects that say the same
    assert len(watched.documents) == len(ALL)
    changed = [make_tool("wash_car", "Clean a vehicle with water."), *make_tools(ALL[10:])]
    (names,) = shown(middleware, "clean vehicle water", tools=changed)
    assert names[0] == "wash_car"
    assert watched.documents[len(ALL) :] == ["wash_car: Clean a vehicle with water."]


def test_two_agents_with_different_tools_of_one_name_share_a_middleware():
    middleware = RagToolSelectorMiddleware(WordEncoder(), max_tools=1)
    first = [make_tool("helper", "Feed the fish."), make_tool("other", "Fly a kite.")]
    second = [make_tool("helper", "Fly a kite."), make_tool("other", "Feed the fish.")]
    for _ in range(2):
        assert shown(middleware, "feed the fish", tools=first) == [["helper"]]
        assert shown(middleware, "feed the fish", tools=second) == [["other"]]


def test_the_same_tools_are_shown_in_every_call_of_a_tool_loop(watched):
    responses = [call_of("wash_car"), call_of("sell_boat"), "done"]
    model = run(RagToolSelectorMiddleware(watched), "wash the car, then sell the boat", responses=responses)
    assert model.calls[0].tool_names == model.calls[1].tool_names == model.calls[2].tool_names
    assert {"wash_car", "sell_boat"} <= set(model.calls[0].tool_names)
    assert [message.text for message in model.calls[2].messages if isinstance(message, ToolMessage)] == [
        "wash_car done",
        "sell_boat done",
    ]


def test_a_turn_keeps_its_tools_and_is_encoded_once(watched):
    def newest(messages):
        return messages[-1].text

    responses = [call_of("wash_car"), "done", "done"]
    texts = ["wash the car", "sell the boat"]
    by_call, by_turn = [
        shown(
            RagToolSelectorMiddleware(watched, query=newest, stickiness=stickiness), *texts, responses=list(responses)
        )
        for stickiness in ("none", "turn")
    ]
    # The text is the tool's answer, "wash_car done", at the second call: another choice unless the turn keeps it.
    assert by_call[1] != by_call[0]
    assert by_turn[1] == by_turn[0]
    assert "sell_boat" in by_turn[2]
    assert watched.queries == ["wash the car", "wash_car done", "sell the boat", "wash the car", "sell the boat"]


def test_a_thread_never_takes_a_tool_back_and_adds_new_ones_at_the_end():
    texts = ["wash the car", "sell the boat", "paint the fence"]
    middleware = RagToolSelectorMiddleware(WordEncoder(), max_tools=3, stickiness="thread", num_turns=1)
    calls = shown(middleware, *texts, tools=[*make_tools(), PROVIDER_TOOL])
    assert calls[0][0] == "web_search"
    for before, after in itertools.pairwise(calls):
        assert after[: len(before)] == before  # what the provider has cached is what comes first again
        assert len(after) > len(before)
    assert {"wash_car", "sell_boat", "paint_fence"} <= set(calls[-1])
    naive = shown(NaiveSelector(WordEncoder(), max_tools=3), *texts)
    assert naive[1][: len(naive[0])] != naive[0]


def test_threads_of_one_agent_do_not_mix():
    model = ScriptedChatModel(responses=["done"] * 4)
    middleware = RagToolSelectorMiddleware(WordEncoder(), max_tools=2, stickiness="thread", num_turns=1)
    agent = create_agent(model, make_tools(), middleware=[middleware], checkpointer=InMemorySaver())
    for text, name in [("wash the car", "a"), ("sell the boat", "b"), ("lift the stone", "a"), ("open the coat", "b")]:
        agent.invoke(asked(text), thread(name))
    a, b = set(model.calls[2].tool_names), set(model.calls[3].tool_names)
    assert {"wash_car", "lift_stone"} <= a
    assert {"sell_boat", "open_coat"} <= b
    assert not {"sell_boat", "open_coat"} & a
    assert not {"wash_car", "lift_stone"} & b


def test_a_thread_goes_on_in_another_process_from_its_checkpoint():
    saver = InMemorySaver()
    names = []
    for text in ("wash the car", "sell the boat"):
        model = ScriptedChatModel(responses=["done"])
        middleware = RagToolSelectorMiddleware(WordEncoder(), max_tools=2, stickiness="thread", num_turns=1)
        create_agent(model, make_tools(), middleware=[middleware], checkpointer=saver).invoke(asked(text), thread("t"))
        names.append(model.calls[0].tool_names)
    assert names[1][:2] == names[0]
    assert "sell_boat" in names[1][2:]


def test_a_thread_that_has_been_shown_too_much_begins_again():
    middleware = RagToolSelectorMiddleware(WordEncoder(), max_tools=3, stickiness="thread", max_shown=5, num_turns=1)
    calls = shown(middleware, "wash the car", "sell the boat", "paint the fence")
    assert all(len(names) <= 5 for names in calls)
    assert "paint_fence" in calls[2]
    assert "wash_car" not in calls[2]


def test_a_follow_up_without_words_of_its_own_finds_the_tools_of_the_turn_before():
    texts = ["wash the car", "yes, thanks"]
    one_turn = shown(RagToolSelectorMiddleware(WordEncoder(), max_tools=3, num_turns=1), *texts)
    two_turns = shown(RagToolSelectorMiddleware(WordEncoder(), max_tools=3), *texts)
    assert "wash_car" not in one_turn[1]
    assert "wash_car" in two_turns[1]


def test_the_newest_message_is_read_to_its_end_and_older_ones_are_left_out_instead(watched):
    long = "word " * 40
    shown(RagToolSelectorMiddleware(watched, num_turns=3), long + "old", long + "new", "wash the car")
    assert watched.queries[-1] == f"{long}new wash the car"
    assert "old" not in watched.queries[-1].split()


def test_a_summary_written_by_langchain_is_no_message_of_the_user(watched):
    summary = HumanMessage("summary: sell the boat", additional_kwargs={"lc_source": "summarization"})
    model = ScriptedChatModel(responses=["done"])
    agent = create_agent(model, make_tools(), middleware=[RagToolSelectorMiddleware(watched)])
    agent.invoke({"messages": [summary, AIMessage("fine"), HumanMessage([{"type": "text", "text": "wash the car"}])]})
    assert watched.queries == ["wash the car"]


def test_a_provider_dict_keeps_its_place(watched):
    (names,) = shown(
        RagToolSelectorMiddleware(watched, max_tools=2), "wash the car", tools=[*make_tools(), PROVIDER_TOOL]
    )
    assert names[-1] == "web_search"
    assert len(names) == 3


def test_a_tool_that_the_model_is_told_to_call_is_shown():
    class Choose(AgentMiddleware):
        def __init__(self, choice):
            super().__init__()
            self.choice = choice

        def wrap_model_call(self, request, handler):
            return handler(request.override(tool_choice=self.choice))

    selector = RagToolSelectorMiddleware(WordEncoder(), max_tools=2)
    for choice in (
        "sell_boat",
        {"type": "function", "function": {"name": "sell_boat"}},
        {"type": "tool", "name": "sell_boat"},
    ):
        model = ScriptedChatModel(responses=["done"])
        create_agent(model, make_tools(), middleware=[Choose(choice), selector]).invoke(asked("wash the car"))
        assert "sell_boat" in model.calls[0].tool_names


def test_a_score_threshold_leaves_out_what_fits_badly_even_among_few_tools():
    middleware = RagToolSelectorMiddleware(WordEncoder(), score_threshold=0.75, always_include=["open_door"])
    assert shown(middleware, "wash the car", tools=[*make_tools(ALL[:3]), make_tool("wash_car")]) == [
        ["open_door", "wash_car"]
    ]


@pytest.mark.parametrize(("on_empty", "expected"), [("all", ALL), ("none", ["lift_stone"])])
def test_without_words_all_tools_or_those_always_included_are_shown(on_empty, expected, watched):
    middleware = RagToolSelectorMiddleware(watched, always_include=["lift_stone"], on_empty=on_empty)
    assert shown(middleware, "  ") == [expected]
    assert watched.queries == []


def test_a_thread_keeps_what_it_was_shown_when_the_user_says_nothing():
    first, second = shown(
        RagToolSelectorMiddleware(WordEncoder(), stickiness="thread", max_tools=2, num_turns=1), "wash the car", ""
    )
    assert first == second


@pytest.mark.parametrize("fault", [ModelLoadError("lost"), RuntimeError("out of memory")])
def test_a_failing_encoder_is_an_error_or_shows_all_tools_as_asked(fault, watched, caplog):
    watched.failure = fault
    with pytest.raises(type(fault)):
        shown(RagToolSelectorMiddleware(watched), "wash the car")
    with caplog.at_level(logging.WARNING):
        assert shown(RagToolSelectorMiddleware(watched, on_error="all"), "wash the car") == [ALL]
    assert "choosing tools failed, all are shown" in caplog.text
    watched.failure = None
    assert len(shown(RagToolSelectorMiddleware(watched, on_error="all"), "wash the car")[0]) == 8


def test_unknown_tools_to_include_are_named_at_the_first_call():
    with pytest.raises(InputError, match="always_include: no tool is named 'fly_kite'; expected some of: count_"):
        shown(RagToolSelectorMiddleware(WordEncoder(), always_include=["wash_car", "fly_kite"]), "wash the car")


def test_selection_is_no_permission_boundary_as_its_documentation_says():
    model = run(
        RagToolSelectorMiddleware(WordEncoder(), max_tools=2), "wash the car", responses=[call_of("sell_boat"), "done"]
    )
    assert "sell_boat" not in model.calls[0].tool_names
    assert model.calls[1].messages[-1].text == "sell_boat done"
    assert "no permission boundary" in (RagToolSelectorMiddleware.__doc__ or "")


def test_what_was_saved_is_logged(watched, caplog):
    with caplog.at_level(logging.DEBUG, logger="integrations.langchain.tool_selection.narrowing"):
        shown(RagToolSelectorMiddleware(watched, max_tools=2), "wash the car", tools=make_tools(ALL[:20]))
    assert "RagToolSelectorMiddleware: 2 tools shown, 20 bound; their schemas take" in caplog.text


def test_only_deferred_tools_are_chosen_from_and_lose_their_mark():
    marked = [
        make_tool(f"{verb}_{noun}", extras={"defer_loading": True, "kept": 1})
        for noun, verb in zip(NOUNS, VERBS, strict=False)
    ]
    seen = []

    class Look(AgentMiddleware):
        def wrap_model_call(self, request, handler):
            seen.extend(request.tools)
            return handler(request)

    model = ScriptedChatModel(responses=["done"])
    middleware = [RagToolSelectorMiddleware(WordEncoder(), max_tools=1, only_deferred=True), Look()]
    create_agent(model, [*marked, make_tool("ask_human")], middleware=middleware).invoke(asked("wash the car"))
    assert model.calls[0].tool_names == ["wash_car", "ask_human"]
    assert seen[0].extras == {"kept": 1}
    assert marked[1].extras == {"defer_loading": True, "kept": 1}
    # LangChain's own reading of the mark needs a provider that searches tools itself.
    with pytest.raises(ValueError, match="provider"):
        create_agent(ScriptedChatModel(responses=["done"]), marked, middleware=[ProviderToolSearchMiddleware()]).invoke(
            asked("wash the car")
        )


def test_two_selectors_with_names_of_their_own_narrow_one_after_the_other():
    pair = [
        RagToolSelectorMiddleware(WordEncoder(), max_tools=20, stickiness="thread", name="wide"),
        RagToolSelectorMiddleware(WordEncoder(), max_tools=2, stickiness="thread", name="narrow"),
    ]
    model = ScriptedChatModel(responses=["done", "done"])
    agent = create_agent(model, make_tools(), middleware=pair, checkpointer=InMemorySaver())
    agent.invoke(asked("wash the car"), thread("t"))
    assert len(model.calls[0].tool_names) == 2
    state = agent.get_state(thread("t")).values["rag_tool_selection"]
    assert {name: len(noted["names"]) for name, noted in state.items()} == {"wide": 20, "narrow": 2}


# --- a registry


@pytest.fixture
def registry(watched):
    with ToolRetriever(watched) as opened:
        opened.add(make_tools())
        yield opened


def serving(registry, **options):
    return RagToolSelectorMiddleware(registry=registry, serve_unbound=True, **options)


def test_tools_that_the_agent_was_not_created_with_are_shown_and_run(registry):
    responses = [call_of("wash_car"), "done"]
    model = run(serving(registry, max_tools=3), "wash the car", tools=[], responses=responses)
    assert len(model.calls[0].tool_names) == 3
    assert model.calls[1].messages[-1].text == "wash_car done"


async def test_they_are_run_asynchronously_too(registry):
    async def wash_ship(soap: str) -> str:
        """Wash the ship with soap."""
        return f"washed with {soap}"

    registry.add([wash_ship])
    model = ScriptedChatModel(responses=[call_of("wash_ship", soap="foam"), "done"])
    agent = create_agent(model, [], middleware=[serving(registry, max_tools=3)])
    result = await agent.ainvoke(asked("wash the ship with soap"))
    assert result["messages"][2].text == "washed with foam"
    assert "soap" in str(model.calls[0].tools)


def test_without_serving_langchain_refuses_a_tool_the_agent_does_not_know(registry):
    class Naive(AgentMiddleware):
        def wrap_model_call(self, request, handler):
            hits = registry.retrieve(request.messages[-1].text, 2)
            return handler(request.override(tools=[hit.item.original for hit in hits]))

    with pytest.raises(ValueError, match="doesn't know how to execute"):
        shown(Naive(), "wash the car", tools=[])
    assert shown(RagToolSelectorMiddleware(registry=registry), "wash the car", tools=[]) == [[]]


def test_tools_added_and_deleted_while_the_agent_runs_are_seen_at_the_next_call(registry):
    model = ScriptedChatModel(responses=["done", "done", "done"])
    agent = create_agent(model, [], middleware=[serving(registry, max_tools=2)])
    agent.invoke(asked("fly the kite"))
    registry.add([make_tool("fly_kite")])
    agent.invoke(asked("fly the kite"))
    registry.delete(["fly_kite"])
    agent.invoke(asked("fly the kite"))
    assert ["fly_kite" in call.tool_names for call in model.calls] == [False, True, False]


def test_a_deleted_tool_leaves_a_thread_that_had_been_shown_it(registry):
    model = ScriptedChatModel(responses=["done", call_of("wash_car"), "done"])
    middleware = serving(registry, max_tools=2, stickiness="thread", num_turns=1)
    agent = create_agent(model, [], middleware=[middleware], checkpointer=InMemorySaver())
    agent.invoke(asked("wash the car"), thread("t"))
    registry.delete(["wash_car"])
    result = agent.invoke(asked("sell the boat"), thread("t"))
    assert "wash_car" in model.calls[0].tool_names
    assert "wash_car" not in model.calls[1].tool_names
    assert "sell_boat" in model.calls[1].tool_names
    assert result["messages"][-2].status == "error"  # as for any tool that does not exist


def test_tools_bound_to_the_agent_that_the_registry_does_not_know_are_always_shown(registry):
    (names,) = shown(
        serving(registry, max_tools=2), "wash the car", tools=[make_tool("ask_human"), make_tool("sell_boat")]
    )
    assert names[0] == "ask_human"
    assert "wash_car" in names
    assert len(names) == 3


def test_the_object_bound_to_the_agent_is_run_rather_than_the_one_in_the_registry(registry):
    mine = StructuredTool.from_function(lambda: "mine", name="wash_car", description="wash the car.")
    model = run(serving(registry, max_tools=2), "wash the car", tools=[mine], responses=[call_of("wash_car"), "done"])
    assert model.calls[0].tool_names.count("wash_car") == 1
    assert model.calls[1].messages[-1].text == "mine"


def test_a_registry_that_is_not_served_ranks_the_agents_own_tools_however_deep_they_are(registry, watched):
    own = [make_tool("count_anchor"), make_tool("open_door"), make_tool("wash_kettle")]
    encoded = len(watched.documents)
    (names,) = shown(RagToolSelectorMiddleware(registry=registry, max_tools=1), "count the anchor", tools=own)
    assert names == ["count_anchor"]
    (names,) = shown(RagToolSelectorMiddleware(registry=registry, max_tools=1), "paint the kettle", tools=own)
    assert names == ["wash_kettle"]
    assert len(watched.documents) == encoded


def test_pinned_tools_of_a_registry_are_shown_besides(watched):
    with ToolRetriever(watched, pinned=["lift_stone"]) as registry:
        registry.add(make_tools())
        bound_only = RagToolSelectorMiddleware(registry=registry, max_tools=2)
        for middleware, tools in [(serving(registry, max_tools=2), []), (bound_only, make_tools())]:
            (names,) = shown(middleware, "wash the car", tools=tools)
            assert "lift_stone" in names
            assert len(names) == 3


def test_a_threshold_holds_no_pinned_tool_back(watched):
    with ToolRetriever(watched, pinned=["lift_stone"]) as registry:
        registry.add(make_tools(["wash_car", "lift_stone", "sell_boat"]))
        assert shown(serving(registry, score_threshold=0.75), "wash the car", tools=[]) == [["lift_stone", "wash_car"]]


def test_a_served_tool_can_always_be_included(registry):
    model = run(
        serving(registry, max_tools=2, always_include=["lift_stone"]),
        "wash the car",
        tools=[],
        responses=[call_of("lift_stone"), "done"],
    )
    assert model.calls[0].tool_names[0] == "lift_stone"
    assert model.calls[1].messages[-1].text == "lift_stone done"


@pytest.mark.parametrize(
    "tool", [{"name": "fly_kite", "description": "Fly the kite.", "parameters": {}}, Tool("fly_kite", "Fly the kite.")]
)
def test_a_description_that_cannot_be_run_is_an_error_that_says_so(registry, tool):
    registry.add([tool])
    with pytest.raises(
        InputError, match=r"'fly_kite' was found in the registry, but its original is a (dict|Tool); expected"
    ):
        shown(serving(registry), "fly the kite", tools=[])


def test_after_reopening_tools_have_to_be_added_again_but_are_not_encoded_again(watched, tmp_path):
    with ToolRetriever(watched, path=tmp_path / "tools") as registry:
        registry.add(make_tools(ALL[:20]))
    with ToolRetriever(watched, path=tmp_path / "tools") as registry:
        with pytest.raises(InputError, match="its original is lost when it was reopened"):
            shown(serving(registry), "wash the car", tools=[])
        registry.add(make_tools(ALL[:20]))
        assert len(shown(serving(registry), "wash the car", tools=[])[0]) == 8
    assert len(watched.documents) == 20


# --- options, threads, loops


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stickiness": "session"}, "stickiness"),
        ({"on_empty": "error"}, "on_empty"),
        ({"on_error": "ignore"}, "on_error"),
        ({"mode": "sparse"}, "mode"),
        ({"serve_unbound": True}, "needs a registry"),
        ({"max_tools": 0}, "^max_tools: got 0; expected an int from 1"),
        ({"max_tools": True}, "^max_tools: got True"),
        ({"max_tools": 2.5}, "^max_tools: got 2.5"),
        ({"score_threshold": math.nan}, "^score_threshold: got nan"),
        ({"score_threshold": "0.5"}, "^score_threshold: got '0.5'"),
        ({"score_threshold": True}, "^score_threshold: got True"),
        ({"query": "flight"}, "^query: got str; expected a function"),
        ({"only_deferred": "no"}, "^only_deferred: got 'no'; expected True or False"),
        ({"serve_unbound": 1}, "^serve_unbound: got 1"),
        ({"name": 5}, "^name: got 5"),
        ({"num_turns": True}, "^num_turns: got True"),
        ({"num_turns": 0}, "num_turns: got 0"),
        ({"max_shown": 20}, "max_shown was given with stickiness='none'"),
        ({"max_shown": 2, "stickiness": "thread"}, "at least max_tools"),
        ({"always_include": "wash_car"}, "always_include: got a bare str"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        RagToolSelectorMiddleware(WordEncoder(), **options)


def test_what_is_no_encoder_or_no_registry_is_refused(registry):
    with pytest.raises(ConfigError, match="embedder: got ToolRetriever"):
        RagToolSelectorMiddleware(registry)
    with pytest.raises(ConfigError, match="registry: got WordEncoder"):
        RagToolSelectorMiddleware(registry=WordEncoder())
    with pytest.raises(ConfigError, match="unknown mode 'sparse'"):
        RagToolSelectorMiddleware(registry=registry, mode="sparse")
    with pytest.raises(ConfigError, match="both given"):
        RagToolSelectorMiddleware(WordEncoder(), registry=registry)
    with pytest.raises(TypeError, match="top_k"):
        RagToolSelectorMiddleware(WordEncoder(), top_k=3)


@pytest.mark.parametrize("mode", ["hybrid", "lexical"])
def test_other_modes_find_the_tool_by_its_words(mode):
    assert "wash_car" in shown(RagToolSelectorMiddleware(WordEncoder(), mode=mode, max_tools=3), "wash the car")[0]


async def test_serving_leaves_the_loop_free(registry, watched):
    watched.seconds = 0.3
    model = ScriptedChatModel(responses=[call_of("wash_car"), "done"])
    agent = create_agent(model, [], middleware=[serving(registry)])
    result, ticks = await count_ticks(agent.ainvoke(asked("wash the car")))
    assert result["messages"][2].text == "wash_car done"
    assert ticks >= 20


async def test_a_query_of_ones_own_may_read_the_callers_context_variables(watched):
    wish = contextvars.ContextVar("wish")
    wish.set("sell the boat")
    model = ScriptedChatModel(responses=["done"])
    middleware = RagToolSelectorMiddleware(watched, max_tools=1, query=lambda messages: wish.get())
    await create_agent(model, make_tools(), middleware=[middleware]).ainvoke(asked("anything"))
    assert model.calls[0].tool_names == ["sell_boat"]
    with pytest.raises(InputError, match=r"query\(messages\): got NoneType; expected str"):
        shown(RagToolSelectorMiddleware(watched, query=lambda messages: None), "anything")


async def test_many_conversations_at_once_each_get_their_own_tools(watched):
    middleware = RagToolSelectorMiddleware(watched, max_tools=2, stickiness="thread", num_turns=1)

    def one(number):
        wanted = ALL[number * 3]
        verb, noun = wanted.split("_")
        names = shown(middleware, f"{verb} the {noun}", "thanks", responses=["done", "done"])
        return wanted in names[0] and wanted in names[1]

    results = await asyncio.gather(*(asyncio.to_thread(one, number) for number in range(16)))
    assert all(results)
    assert len(watched.documents) == len(ALL)


def test_sixteen_threads_with_tools_of_their_own_share_one_middleware():
    middleware = RagToolSelectorMiddleware(WordEncoder(), max_tools=1)
    wrong = []

    def work(number):
        for _ in range(3):
            mine = [make_tool("helper", f"Task of thread{number}."), make_tool("other", f"Work in room{number}.")]
            names = shown(middleware, f"room{number} work", tools=mine)
            if names != [["other"]]:
                wrong.append(names)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []


async def test_meaning_decides_with_the_real_encoder(minilm):
    purposes = {
        "get_forecast": "Weather prediction for a place and a date.",
        "send_mail": "Send an electronic letter.",
        "bank_transfer": "Move money from one account to another.",
        "set_alarm": "Wake somebody up at a given hour.",
    }
    tools = [make_tool(name, purpose) for name, purpose in purposes.items()]
    middleware = await in_thread(lambda: RagToolSelectorMiddleware(minilm, max_tools=1))
    for text, wanted in [
        ("Do I need an umbrella in Oslo?", "get_forecast"),
        ("Please wake me at six tomorrow", "set_alarm"),
    ]:
        model = ScriptedChatModel(responses=["done"])
        await create_agent(model, tools, middleware=[middleware]).ainvoke(asked(text))
        assert model.calls[0].tool_names == [wanted]
