"""What a chat says is remembered at its end too, and once, however often and whenever that is asked for."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.storage.chat_store.base_db import MessageStatus

from integrations.conformance.llama_index_memory import open_memory
from integrations.conformance.loop_ticks import check_loop_was_free, count_ticks
from integrations.conformance.scripted_llm import ScriptedLLM
from integrations.llama_index import RagMemoryBlock
from rag_embedder import MemoryRetriever
from rag_embedder.errors import InputError
from tests.integrations.llama_index.test_memory import assistant, user
from tests.retriever_cases import Watched, WordEncoder

# LlamaIndex's agents read all attributes of themselves, pydantic's deprecated ones included.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")

SMALL = {"token_limit": 60, "token_flush_size": 10, "chat_history_token_ratio": 0.5}
"""A history of two exchanges."""


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def memory(watched):
    with MemoryRetriever(watched) as opened:
        yield opened


@pytest.fixture
def block(memory):
    return RagMemoryBlock(user="ann", memory=memory)


def exchange(number):
    return [user(f"this is question number {number}"), assistant(f"that is answer number {number}")]


def texts_of(memory, name="ann"):
    hits = memory.retrieve("question answer number", 1000, user=name)
    return [hit.item.text for hit in sorted(hits, key=lambda hit: (hit.item.session, hit.item.position))]


def text_of(number):
    return f"user: this is question number {number}\nassistant: that is answer number {number}"


async def test_a_chat_that_fits_its_history_is_remembered_when_that_is_asked_for(memory, block):
    agent = FunctionAgent(llm=ScriptedLLM(responses=lambda _: "Noted."))
    async with open_memory(block, session_id="monday") as chat:
        await agent.run(user_msg="my daughter is allergic to hazelnuts", memory=chat)
        before = await chat.aget_all()
        assert len(memory) == 0  # the trap: LlamaIndex flushes what no longer fits, and this always fits
        await block.aremember(chat)
        assert await chat.aget_all() == before
    model = ScriptedLLM(responses=["None."])
    async with open_memory(RagMemoryBlock(user="ann", memory=memory), session_id="tuesday") as fresh:
        await FunctionAgent(llm=model).run(user_msg="which nuts must my daughter avoid", memory=fresh)
    assert "[session monday]\nuser: my daughter is allergic to hazelnuts\nassistant: Noted." in model.calls[0].text


async def test_a_chat_may_be_remembered_after_every_turn_and_each_turn_is_encoded_once(memory, block, watched):
    async with open_memory(block) as chat:
        for number in range(5):
            await chat.aput_messages(exchange(number))
            await block.aremember(chat)
            await block.aremember(chat)
    assert texts_of(memory) == [text_of(number) for number in range(5)]
    assert len(watched.documents) == 5


async def test_what_was_flushed_before_is_not_remembered_twice(memory, block):
    async with open_memory(block, **SMALL) as chat:
        for number in range(8):
            await chat.aput_messages(exchange(number))
        assert 0 < len(memory) < 8
        await block.aremember(chat)
    assert texts_of(memory) == [text_of(number) for number in range(8)]


async def test_what_is_flushed_later_is_not_remembered_twice(memory, block):
    async with open_memory(block, **SMALL) as chat:
        for number in range(2):
            await chat.aput_messages(exchange(number))
        assert len(memory) == 0
        await block.aremember(chat)
        for number in range(2, 12):
            await chat.aput_messages(exchange(number))
        archived = await chat.aget_all(status=MessageStatus.ARCHIVED)
        assert len(archived) >= 6
        assert texts_of(memory) == [text_of(number) for number in range(len(archived) // 2)]
        await block.aremember(chat)
    assert texts_of(memory) == [text_of(number) for number in range(12)]


async def test_the_core_alone_would_keep_a_later_flush_twice(memory):
    said = [turn for number in range(3) for turn in exchange(number)]
    memory.add_turns(said, user="by hand")
    memory.add_turns(exchange(1), user="by hand")  # from the middle of what it knows
    assert memory.count("by hand") == 4
    block = RagMemoryBlock(user="ann", memory=memory)
    await block.aput(said)
    await block.aput(exchange(1), from_short_term_memory=True)
    assert memory.count("ann") == 3


ACTIONS = st.lists(st.sampled_from(["ask", "answer", "remember", "reopen"]), min_size=1, max_size=25)


@given(ACTIONS)
@settings(max_examples=25, deadline=None)
def test_whenever_it_is_asked_for_every_turn_is_remembered_once(actions):
    async def run():
        with MemoryRetriever(WordEncoder()) as memory:
            block, said = RagMemoryBlock(memory=memory), []
            async with open_memory(block, session_id="s", **SMALL) as chat:
                for number, action in enumerate([*actions, "remember"]):
                    if action == "ask":
                        said.append(f"user: this is question number {number}")
                        await chat.aput(user(f"this is question number {number}"))
                    elif action == "answer" and said:
                        said.append(f"assistant: this is answer number {number}")
                        await chat.aput(assistant(f"this is answer number {number}"))
                    elif action == "remember":
                        await block.aremember(chat)
                    else:
                        chat.memory_blocks[:] = [block := RagMemoryBlock(memory=memory)]
            assert "\n".join(texts_of(memory, block.user_of("s"))).splitlines() == said

    asyncio.run(run())


async def test_a_question_remembered_before_its_answer_is_completed(memory, block):
    async with open_memory(block, session_id="s") as chat:
        for number in (1, 2):
            question, answer = exchange(number)
            await chat.aput(question)
            await block.aremember(chat)
            await chat.aput_messages([answer, assistant("and more")])
            await block.aremember(chat)
        await chat.aput(assistant("and later"))
        await block.aremember(chat)
    assert texts_of(memory) == [
        f"{text_of(1)}\nassistant: and more",
        f"{text_of(2)}\nassistant: and more\nassistant: and later",
    ]


async def test_turns_that_are_put_by_hand_may_repeat_what_was_said_before(memory, block):
    for said in ("the weather", "the news", "the weather"):
        await block.aput([user(said)])
        await block.aput([assistant("noted")])
    assert texts_of(memory) == [
        f"user: {said}\nassistant: noted" for said in ("the weather", "the news", "the weather")
    ]


async def test_a_greeting_before_the_first_question_is_kept_once(memory, block):
    async with open_memory(block, **SMALL) as chat:
        await chat.aput(assistant("welcome to this place"))
        for number in range(6):
            await chat.aput_messages(exchange(number))
            await block.aremember(chat)
    assert texts_of(memory) == ["assistant: welcome to this place", *(text_of(number) for number in range(6))]


async def test_the_same_words_in_another_session_are_another_memory(memory, block):
    for session in ("monday", "tuesday"):
        async with open_memory(block, session_id=session) as chat:
            await chat.aput_messages(exchange(1))
            await block.aremember(chat)
    assert texts_of(memory) == [text_of(1)] * 2


async def test_the_same_question_with_another_answer_is_another_memory(memory, block):
    async with open_memory(block) as chat:
        for answer in ("rain", "sun", "rain"):
            await chat.aput_messages([user("the weather"), assistant(answer)])
            await block.aremember(chat)
        await chat.aput(user("the weather"))
        await block.aremember(chat)
    assert texts_of(memory) == [f"user: the weather\nassistant: {answer}" for answer in ("rain", "sun")]


async def test_sessions_stay_apart_without_a_user(memory):
    block = RagMemoryBlock(memory=memory)
    for session, number in (("one", 1), ("two", 2)):
        async with open_memory(block, session_id=session) as chat:
            await chat.aput_messages(exchange(number))
            await block.aremember(chat)
    assert texts_of(memory, block.user_of("one")) == [text_of(1)]
    assert texts_of(memory, block.user_of("two")) == [text_of(2)]


async def test_a_memory_that_does_not_flush_into_the_block_is_remembered_as_a_whole(memory):
    outside = RagMemoryBlock(user="outside", memory=memory)
    refusing = RagMemoryBlock(user="refusing", memory=memory, accept_short_term_memory=False)
    async with open_memory(refusing, **SMALL) as chat:
        for number in range(8):
            await chat.aput_messages(exchange(number))
        assert len(await chat.aget_all(status=MessageStatus.ARCHIVED)) >= 4
        await outside.aremember(chat)
        await refusing.aremember(chat)
    for name in ("outside", "refusing"):
        assert texts_of(memory, name) == [text_of(number) for number in range(8)]


def test_it_can_be_asked_for_without_an_event_loop_and_survives_the_process(tmp_path, watched):
    uri = f"sqlite+aiosqlite:///{tmp_path}/chats.db"

    async def say():
        chat = Memory.from_defaults(session_id="s", async_database_uri=uri)
        await chat.aput_messages(exchange(1))
        await chat.sql_store._async_engine.dispose()

    asyncio.run(say())
    for _ in range(2):
        block = RagMemoryBlock(embedder=watched, path=tmp_path / "m", user="ann")
        chat = Memory.from_defaults(session_id="s", async_database_uri=uri, memory_blocks=[block])
        block.remember(chat)
        assert texts_of(block.retriever) == [text_of(1)]
        asyncio.run(chat.sql_store._async_engine.dispose())
        block.close()
    assert len(watched.documents) == 1


async def test_an_empty_chat_is_nothing_to_remember(memory, block, watched):
    async with open_memory(block) as chat:
        await block.aremember(chat)
    assert len(memory) == 0
    assert watched.documents == []


async def test_what_is_no_memory_of_llama_index_is_refused(memory, block):
    for wrong in (None, [user("x")], block, ChatMemoryBuffer.from_defaults(token_limit=100)):
        with pytest.raises(InputError, match=r"chat: got \w+; expected LlamaIndex's Memory.*aput"):
            await block.aremember(wrong)
        with pytest.raises(InputError, match="chat: got"):
            block.remember(wrong)


async def test_the_event_loop_stays_free(memory, block, watched):
    watched.seconds = 0.3
    async with open_memory(block) as chat:
        await chat.aput_messages(exchange(1))
        _, ticks = await count_ticks(block.aremember(chat))
    check_loop_was_free(ticks)
    assert len(memory) == 1


async def test_many_at_once_keep_every_turn_once(memory):
    async with open_memory(session_id="s") as chat:
        for number in range(4):
            await chat.aput_messages(exchange(number))
        blocks = [RagMemoryBlock(user="ann", memory=memory) for _ in range(8)]
        await asyncio.gather(*(block.aremember(chat) for block in blocks * 3))
    assert texts_of(memory) == [text_of(number) for number in range(4)]
