"""RagConversationRetriever: chat engines whose retrieval knows the dialogue, without a rewriting call."""

import asyncio
import contextvars
import time

import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, MessageRole
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.schema import QueryBundle
from pydantic import PrivateAttr

from integrations.conformance.llama_index_retriever import RetrieverConformance
from integrations.conformance.loop_ticks import count_ticks
from integrations.llama_index.conversation import RagConversationRetriever
from integrations.llama_index.retriever import RagRetriever
from rag_embedder import ConversationRetriever, Document, KnowledgeRetriever
from rag_embedder.errors import ConfigError, FilterError, InputError
from tests.retriever_cases import TEXTS, Watched, WordEncoder

DOCUMENTS = [
    Document("Norway has the capital Oslo.", id="norway"),
    Document("France has the capital Paris.", id="france"),
    Document("Bread is baked of flour.", id="bread", metadata={"topic": "food"}),
]


class CountingLLM(MockLLM):
    """Answers "Noted." and notes every prompt that it is given."""

    _prompts: list = PrivateAttr(default_factory=list)

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **kwargs):
        self._prompts.append(prompt)
        return CompletionResponse(text="Noted.")

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **kwargs):
        self._prompts.append(prompt)
        yield CompletionResponse(text="Noted.", delta="Noted.")


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def conversation(watched):
    retriever = ConversationRetriever(watched)
    retriever.add(DOCUMENTS)
    return retriever


@pytest.fixture
def llm():
    return CountingLLM()


def said(*texts):
    roles = [MessageRole.USER, MessageRole.ASSISTANT]
    return [ChatMessage(content=text, role=roles[position % 2]) for position, text in enumerate(texts)]


def ids(nodes):
    return [node.node.node_id for node in nodes]


class TestConversationConforms(RetrieverConformance):
    queries = (TEXTS["rain"], TEXTS["cat"])

    @pytest.fixture
    def retriever(self, watched):
        retriever = ConversationRetriever(watched)
        retriever.add([Document(text, id=id_) for id_, text in TEXTS.items()])
        return RagConversationRetriever(retriever, ChatMemoryBuffer.from_defaults(chat_history=[]), k=3)

    @pytest.fixture
    def slow_retriever(self, retriever, watched):
        watched.seconds = 0.3
        return retriever


# --- what is asked with


def test_the_query_is_the_dialogue_with_the_question_last(conversation, watched):
    history = said("Tell me about Norway.", "Gladly.")
    retriever = RagConversationRetriever(conversation, history, k=1)
    watched.queries.clear()
    assert ids(retriever.retrieve("And its capital?")) == ["norway"]
    assert watched.queries == ["Tell me about Norway. Gladly. And its capital?"]
    assert history == said("Tell me about Norway.", "Gladly.")


@pytest.mark.parametrize(
    "memory_of",
    [
        lambda messages: messages,
        tuple,
        lambda messages: lambda: iter(messages),
        lambda messages: ChatMemoryBuffer.from_defaults(chat_history=list(messages)),
        lambda messages: Memory.from_defaults(session_id="one", chat_history=list(messages)),
    ],
    ids=["list", "tuple", "function", "buffer", "memory"],
)
async def test_any_kind_of_memory_is_read_sync_and_async(conversation, watched, memory_of):
    memory = memory_of(said("Tell me about France.", "Gladly."))
    retriever = RagConversationRetriever(conversation, memory, k=1)
    watched.queries.clear()
    assert ids(await retriever.aretrieve("And its capital?")) == ["france"]
    assert ids(await asyncio.to_thread(retriever.retrieve, "And its capital?")) == ["france"]
    assert watched.queries == ["Tell me about France. Gladly. And its capital?"] * 2
    if isinstance(memory, Memory):
        await memory.sql_store._async_engine.dispose()  # LlamaIndex leaves its connection open


def test_a_list_that_grows_is_read_as_it_is_at_the_question(conversation, watched):
    history = []
    retriever = RagConversationRetriever(conversation, history)
    retriever.retrieve("Bread?")
    history += said("Bread?", "Flour.")
    retriever.retrieve("And?")
    assert watched.queries[-2:] == ["Bread?", "Bread? Flour. And?"]


def test_a_question_that_the_memory_holds_already_is_asked_once(conversation, watched):
    history = said("Norway?", "Yes.", "Its capital?")
    RagConversationRetriever(conversation, history).retrieve("Its capital?")
    assert watched.queries[-1] == "Norway? Yes. Its capital?"


def test_only_what_was_said_counts_whatever_roles_are_called(conversation, watched):
    roles = [MessageRole.SYSTEM, MessageRole.DEVELOPER, MessageRole.TOOL, MessageRole.FUNCTION]
    history = [ChatMessage(content="be brief", role=role) for role in roles]
    history += [ChatMessage(content="Norway?", role=MessageRole.USER), ChatMessage(role=MessageRole.ASSISTANT)]
    history += [ChatMessage(content=text, role=text) for text in ("chatbot", "model")]
    RagConversationRetriever(conversation, history).retrieve("Its capital?")
    assert watched.queries[-1] == "Norway? chatbot model Its capital?"


def test_an_empty_question_finds_nothing_whatever_was_said_before(conversation, watched):
    watched.queries.clear()
    assert RagConversationRetriever(conversation, said("Norway?", "Yes.")).retrieve("") == []
    assert RagConversationRetriever(conversation, said("Norway?", "Yes.")).retrieve(QueryBundle("  ")) == []
    assert watched.queries == []


def test_a_long_history_is_left_out_from_its_beginning(conversation, watched):
    history = said(*[f"word{number} " * 10 for number in range(40)])
    RagConversationRetriever(conversation, history).retrieve("last")
    asked = watched.queries[-1]
    assert asked.endswith("last")
    assert "word39" in asked
    assert "word0 " not in asked
    assert len(asked.split()) <= watched.max_length


def test_options_are_heeded(conversation):
    assert len(RagConversationRetriever(conversation, [], k=2).retrieve("capital")) == 2
    food = RagConversationRetriever(conversation, [], filters={"topic": "food"}).retrieve("capital")
    assert ids(food) == ["bread"]
    assert ids(RagConversationRetriever(conversation, [], mode="lexical").retrieve("paris")) == ["france"]
    assert RagConversationRetriever(conversation, [], score_threshold=1.1).retrieve("capital") == []


def test_mistakes_are_refused(conversation, watched):
    knowledge = KnowledgeRetriever(watched)
    with pytest.raises(ConfigError, match="got KnowledgeRetriever; expected a ConversationRetriever"):
        RagConversationRetriever(knowledge, [])
    for memory in ("a session id", None, 3, Memory):
        with pytest.raises(ConfigError, match="expected the chat engine's memory"):
            RagConversationRetriever(conversation, memory)
    with pytest.raises(InputError, match=r"memory\[1\]: got str; expected ChatMessage"):
        RagConversationRetriever(conversation, [*said("Norway?"), "text"]).retrieve("and?")
    with pytest.raises(InputError, match="k: got 0"):
        RagConversationRetriever(conversation, [], k=0)
    with pytest.raises(FilterError):
        RagConversationRetriever(conversation, [], filters={"a": {"like": 1}})


# --- async


async def test_the_loop_is_free_also_while_a_function_fetches_the_messages(conversation, watched):
    def slow_messages():
        time.sleep(0.3)
        return said("Norway?", "Yes.")

    found, ticks = await count_ticks(RagConversationRetriever(conversation, slow_messages, k=1).aretrieve("Capital?"))
    assert ids(found) == ["norway"]
    assert ticks >= 5


async def test_a_function_sees_the_context_of_its_task(conversation, watched):
    chat = contextvars.ContextVar("chat")
    chats = {"a": said("Norway?", "Yes."), "b": said("France?", "Yes.")}
    retriever = RagConversationRetriever(conversation, lambda: chats[chat.get()], k=1)

    async def ask(name):
        chat.set(name)
        return ids(await retriever.aretrieve("Its capital?"))

    assert await asyncio.gather(*(ask(name) for name in "abab")) == [["norway"], ["france"]] * 2


# --- chat engines


def engines(retriever, llm, memory):
    return [
        CondensePlusContextChatEngine.from_defaults(retriever, llm=llm, memory=memory, skip_condense=True),
        ContextChatEngine.from_defaults(retriever, llm=llm, memory=memory),
    ]


@pytest.mark.parametrize("engine", [0, 1], ids=["condense_plus_context", "context"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_chat_engine_finds_what_the_dialogue_is_about_with_one_model_call_per_turn(
    conversation, llm, engine, is_async
):
    memory = ChatMemoryBuffer.from_defaults(chat_history=[])
    chat = engines(RagConversationRetriever(conversation, memory, k=1), llm, memory)[engine]
    answers = []
    for message in ("Tell me about France.", "And its capital?"):
        answers.append(await chat.achat(message) if is_async else await asyncio.to_thread(chat.chat, message))
    assert [ids(answer.source_nodes) for answer in answers] == [["france"], ["france"]]
    assert len(llm._prompts) == 2
    assert "France has the capital Paris." in llm._prompts[1]
    assert [message.content for message in memory.get_all()] == [
        "Tell me about France.",
        "Noted.",
        "And its capital?",
        "Noted.",
    ]


def test_the_usual_retriever_is_given_the_last_message_only_and_misses(watched, llm):
    knowledge = KnowledgeRetriever(watched)
    knowledge.add(DOCUMENTS)
    memory = ChatMemoryBuffer.from_defaults(chat_history=[])
    usual = engines(RagRetriever(knowledge, k=1), llm, memory)[0]
    usual.chat("Tell me about France.")
    assert ids(usual.chat("And its capital?").source_nodes) == ["norway"]  # the trap
    conversation = ConversationRetriever(watched)
    conversation.add(DOCUMENTS)
    memory = ChatMemoryBuffer.from_defaults(chat_history=[])
    ours = engines(RagConversationRetriever(conversation, memory, k=1), llm, memory)[0]
    ours.chat("Tell me about France.")
    assert ids(ours.chat("And its capital?").source_nodes) == ["france"]


def test_condensing_costs_a_call_of_the_model_that_we_do_not_need(conversation, llm):
    memory = ChatMemoryBuffer.from_defaults(chat_history=[])
    retriever = RagConversationRetriever(conversation, memory)
    condensing = CondensePlusContextChatEngine.from_defaults(retriever, llm=llm, memory=memory)
    condensing.chat("Tell me about France.")
    condensing.chat("And its capital?")
    assert len(llm._prompts) == 3
    llm._prompts.clear()
    memory.reset()
    ours = engines(retriever, llm, memory)[0]
    ours.chat("Tell me about France.")
    ours.chat("And its capital?")
    assert len(llm._prompts) == 2


async def test_streaming_chats_find_the_same(conversation, llm):
    for engine in (0, 1):
        memory = ChatMemoryBuffer.from_defaults(chat_history=said("Tell me about France.", "Gladly."))
        chat = engines(RagConversationRetriever(conversation, memory, k=1), llm, memory)[engine]
        response = await chat.astream_chat("And its capital?")
        assert "".join([token async for token in response.async_response_gen()]) == "Noted."
        assert ids(response.source_nodes) == ["france"]


async def test_chats_that_share_a_retriever_never_see_each_others_words(conversation, llm, watched):
    chats = {}
    for country in ("Norway", "France", "Bread"):
        memory = ChatMemoryBuffer.from_defaults(chat_history=[], chat_store_key=country)
        chats[country] = engines(RagConversationRetriever(conversation, memory, k=1), llm, memory)[0]
    watched.queries.clear()
    for message in ("Tell me about {}.", "What else?", "And then?"):
        await asyncio.gather(*(chat.achat(message.format(country)) for country, chat in chats.items()))
    assert len(watched.queries) == 9
    for asked in watched.queries:
        assert sum(country in asked for country in chats) == 1
