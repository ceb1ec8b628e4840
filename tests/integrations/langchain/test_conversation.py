"""ConversationalRagRetriever: chats in every form an application has them, no call of a language model."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate
from pydantic import ValidationError

from integrations.conformance.loop_ticks import count_ticks
from integrations.langchain import ConversationalRagRetriever, RagRetriever
from rag_embedder import ConversationRetriever, KnowledgeRetriever, Turn, watch_encodings
from rag_embedder.errors import InputError, InvalidTextError
from tests.retriever_cases import TEXTS, Watched, WordEncoder

CHAT = [
    SystemMessage("you are a helpful zebra"),
    HumanMessage("tell me about paris"),
    AIMessage("gladly, ask me"),
    HumanMessage("the capital of which country"),
]
QUERY = "tell me about paris gladly, ask me the capital of which country"
CALL = {"name": "search", "args": {"query": "snow"}, "id": "1"}


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def retriever(watched):
    made = ConversationalRagRetriever.from_documents(
        [Document(text, id=id_) for id_, text in TEXTS.items()], watched, k=2
    )
    yield made
    made.retriever.close()


def ids(found):
    return [document.id for document in found]


@dataclass
class State:
    """An agent's state as an object."""

    messages: list


FORMS = {
    "messages": CHAT,
    "tuple of messages": tuple(CHAT),
    "pairs": [
        ("system", "zebra"),
        ("human", "tell me about paris"),
        ("ai", "gladly, ask me"),
        ("user", CHAT[3].content),
    ],
    "dicts": [
        {"role": "developer", "content": "zebra"},
        {"role": "user", "content": "tell me about paris"},
        {"role": "assistant", "content": "gladly, ask me"},
        {"role": "human", "content": "the capital of which country"},
    ],
    "turns": [Turn("user", CHAT[1].content), Turn("assistant", CHAT[2].content), Turn("user", CHAT[3].content)],
    "agent state": {"messages": CHAT, "remaining_steps": 3},
    "state object": State(CHAT),
    "prompt value": ChatPromptTemplate([*CHAT]).invoke({}),
    "input and history": {"input": CHAT[3].content, "chat_history": CHAT[:3]},
    "message and history": {"input": CHAT[3], "chat_history": CHAT[:3]},
    "content in blocks": [
        HumanMessage([{"type": "text", "text": "tell me about paris"}, {"type": "image", "url": "http://x/zebra.png"}]),
        AIMessage([{"type": "thinking", "thinking": "zebra"}, {"type": "text", "text": "gladly, ask me"}]),
        HumanMessage("the capital of which country"),
    ],
    "chunks": [
        HumanMessageChunk(CHAT[1].content),
        AIMessageChunk("gladly, ask me"),
        HumanMessageChunk(CHAT[3].content),
    ],
    "chat messages": [
        ChatMessage(role="User", content=CHAT[1].content),
        CHAT[2],
        ChatMessage(role="zebra", content="x"),
        CHAT[3],
    ],
    "in a tool loop": [*CHAT, AIMessage("let me see", tool_calls=[CALL]), ToolMessage("zebra", tool_call_id="1")],
    "already answered": [*CHAT, AIMessage("france")],
    "a past tool call": [
        *CHAT[:2],
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("zebra", tool_call_id="1"),
        *CHAT[2:],
    ],
    "a removal": [RemoveMessage(id="5"), *CHAT],
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_a_chat_becomes_the_same_query(retriever, watched, form):
    before = repr(FORMS[form])
    assert retriever.query_text(FORMS[form]) == QUERY
    assert ids(retriever.invoke(FORMS[form]))[0] == "capital"
    assert ids(await retriever.ainvoke(FORMS[form]))[0] == "capital"
    assert watched.queries == [QUERY, QUERY]
    assert repr(FORMS[form]) == before


def test_a_string_is_a_question_without_history(retriever):
    assert retriever.query_text("snow") == "snow"
    assert (
        retriever.query_text({"input": "snow"}) == retriever.query_text({"input": "snow", "chat_history": []}) == "snow"
    )
    assert ids(retriever.invoke("fire and water"))[0] == "fire"


def test_the_history_changes_what_is_found_where_a_plain_retriever_sees_only_the_last_message(retriever):
    chat = [("human", "the blue cat"), ("ai", "a nice animal"), ("human", "where is it")]
    with KnowledgeRetriever(WordEncoder()) as knowledge:
        knowledge.add(list(TEXTS.values()))
        plain = RagRetriever(retriever=knowledge, k=1)
        assert plain.invoke(chat[-1][1])[0].page_content != TEXTS["cat"]
    assert ids(retriever.invoke(chat))[0] == "cat"


def test_only_the_last_turns_are_used_on_request(watched):
    with ConversationRetriever(watched) as ours:
        one = ConversationalRagRetriever(retriever=ours, max_turns=1)
        two = ConversationalRagRetriever(retriever=ours, max_turns=2)
        assert one.query_text(CHAT) == "the capital of which country"
        assert two.query_text(CHAT) == "gladly, ask me the capital of which country"
        assert two.query_text(FORMS["a past tool call"]) == two.query_text(CHAT)
        long = [HumanMessage("old " * 80), *CHAT]
        assert ConversationalRagRetriever(retriever=ours).query_text(long) == QUERY  # what the model reads
        assert two.query_text(long) == two.query_text(CHAT)


@pytest.mark.parametrize(
    "empty",
    [
        "",
        " ",
        [],
        {"messages": []},
        {"input": "", "chat_history": CHAT},
        [*CHAT, HumanMessage(" ")],
        [AIMessage("hello")],
        CHAT[:1],
    ],
)
async def test_no_question_finds_nothing_and_costs_nothing(retriever, watched, empty):
    assert retriever.invoke(empty) == await retriever.ainvoke(empty) == []
    assert watched.queries == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "input: got NoneType; expected a list of messages, oldest first, a dict with 'messages', or a str"),
        (5, "input: got int"),
        ({"role": "user", "content": "secret"}, "input: got dict; expected a list"),
        ({"question": "secret"}, r"a dict with the keys \['question'\]; expected 'messages', or 'input'"),
        ({"messages": "secret"}, "messages: got str; expected a list of messages"),
        ({"messages": CHAT, "chat_history": []}, "both 'messages' and 'input' or 'chat_history'"),
        ({"input": ["secret"]}, "input: got list; expected the user's question as str"),
        ({"input": "secret", "chat_history": "secret"}, "chat_history: got str; expected a list"),
        (
            [HumanMessage("x"), "secret"],
            r"messages\[1\]: got a bare str; expected a message, such as \('human', text\)",
        ),
        ([HumanMessage("x"), {"text": "secret"}], r"messages\[1\]: got dict, which is no message"),
        ([5], r"messages\[0\]: got int, which is no message"),
        ([("martian", "secret")], r"messages\[0\]: got tuple, which is no message"),
    ],
)
async def test_other_inputs_are_refused_without_repeating_their_text(retriever, watched, wrong, message):
    with pytest.raises(InputError, match=message) as caught:
        retriever.invoke(wrong)
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        await retriever.ainvoke(wrong)
    assert watched.queries == []


async def test_options_batches_and_streams_take_chats(retriever):
    assert len(retriever.invoke(CHAT, k=1)) == 1
    assert len(await retriever.ainvoke({"messages": CHAT}, k=3)) == 3
    with pytest.raises(InputError, match="no option 'top_k'"):
        retriever.invoke(CHAT, top_k=1)
    inputs = [CHAT, "fire and water", {"input": TEXTS["music"], "chat_history": []}]
    assert [ids(found)[0] for found in retriever.batch(inputs)] == ["capital", "fire", "music"]
    assert [ids(found)[0] for found in await retriever.abatch(inputs)] == ["capital", "fire", "music"]
    assert [ids(found) for found in retriever.stream(CHAT)] == [ids(retriever.invoke(CHAT))]
    assert len(retriever.bind(k=1).invoke(CHAT)) == 1


def test_it_stands_where_a_history_aware_retriever_stood(retriever):
    chain = retriever | (lambda documents: documents[0].page_content)
    assert chain.invoke({"input": "of which country", "chat_history": [("human", "the capital")]}) == TEXTS["capital"]
    assert list(chain.stream({"messages": CHAT})) == [TEXTS["capital"]]


def test_its_schemas_can_be_made(retriever):
    kinds = {each.get("type") for each in retriever.get_input_jsonschema()["anyOf"]}
    assert {"string", "array", "object"} <= kinds


async def test_a_trace_shows_the_query_as_text(retriever):
    queries = []

    class Seen(BaseCallbackHandler):
        def on_retriever_start(self, serialized, query, **kwargs):
            queries.append((type(query), query, kwargs["metadata"]["ls_embedding_model"]))

    retriever.invoke({"messages": CHAT}, {"callbacks": [Seen()]})
    await retriever.ainvoke(CHAT, {"callbacks": [Seen()]})
    assert queries == [(str, QUERY, "words:convsearch")] * 2


def test_chats_are_encoded_with_their_own_instruction(embedder):
    retriever = ConversationalRagRetriever.from_documents([Document("paris")], embedder)
    with watch_encodings() as seen:
        retriever.invoke(CHAT)
    assert [(each.texts, each.role, each.scenario) for each in seen] == [((QUERY,), "query", "convsearch")]
    retriever.retriever.close()


async def test_the_loop_runs_on_while_a_slow_search_runs(retriever, watched):
    expected = retriever.invoke(CHAT)
    watched.seconds = 0.3
    found, ticks = await count_ticks(retriever.ainvoke({"messages": CHAT}))
    assert found == expected
    assert ticks >= 8


async def test_the_loop_runs_on_while_a_long_chat_is_measured(retriever, watched):
    def slow(text, scenario, role):
        time.sleep(0.1)
        return WordEncoder().preview(text)

    watched.preview = slow
    _, ticks = await count_ticks(retriever.ainvoke(CHAT))
    assert ticks >= 8


def test_sixteen_threads_never_mix_two_chats(retriever):
    chats = [
        [("human", f"about {id_} {n}"), ("ai", "yes"), ("human", text)] for n in range(8) for id_, text in TEXTS.items()
    ]
    with ThreadPoolExecutor(16) as pool:
        assert [ids(found)[0] for found in pool.map(retriever.invoke, chats)] == list(TEXTS) * 8


def test_it_wants_a_conversation_retriever_and_known_options(watched):
    with KnowledgeRetriever(watched) as knowledge, ConversationRetriever(watched) as ours:
        with pytest.raises(
            ValidationError, match=r"got KnowledgeRetriever; expected a ConversationRetriever\. It opens"
        ):
            ConversationalRagRetriever(retriever=knowledge)
        for options in ({"max_turns": 0}, {"max_turns": "4"}, {"max_token": 3}):
            with pytest.raises(ValidationError, match="max_t"):
                ConversationalRagRetriever(retriever=ours, **options)


def test_a_plain_rag_retriever_points_to_it(watched):
    with ConversationRetriever(watched) as ours, pytest.raises(InvalidTextError, match="ConversationalRagRetriever"):
        RagRetriever(retriever=ours).invoke(CHAT)
