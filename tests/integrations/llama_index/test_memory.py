import asyncio
import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock
from llama_index.core.memory import Memory, StaticMemoryBlock, VectorMemoryBlock
from pydantic import ValidationError

from integrations.conformance.llama_index_memory import MemoryBlockConformance, chat, open_memory, recall, remember
from integrations.conformance.scripted_llm import ScriptedLLM
from integrations.llama_index import RagMemoryBlock
from rag_embedder import MemoryRetriever
from rag_embedder.errors import InputError, ModelMismatchError, StoreClosedError, UserRequiredError
from tests.integrations.llama_index.word_embedding import ListStore, WordEmbedding
from tests.retriever_cases import Watched, WordEncoder

# LlamaIndex's agents read all attributes of themselves, pydantic's deprecated ones included.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")


class Naive(MemoryBlockConformance):
    def open_block(self, *, seconds=0.0):
        return VectorMemoryBlock(vector_store=ListStore(), embed_model=WordEmbedding(seconds=seconds))


class TestEachSessionOnItsOwn(MemoryBlockConformance):
    def open_block(self, *, seconds=0.0):
        encoder = Watched(WordEncoder())
        encoder.seconds = seconds
        return RagMemoryBlock(embedder=encoder)


class TestOneSessionOfAUser(MemoryBlockConformance):
    def open_block(self, *, seconds=0.0):
        encoder = Watched(WordEncoder())
        encoder.seconds = seconds
        return RagMemoryBlock(embedder=encoder, user="ann", across_sessions=False)


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def memory(watched):
    with MemoryRetriever(watched) as opened:
        yield opened


def user(text, **more):
    return ChatMessage(role="user", content=text, **more)


def assistant(text, **more):
    return ChatMessage(role="assistant", content=text, **more)


# --- the framework's own, side by side


async def test_the_conformance_tests_fail_on_llama_indexs_own_vector_memory():
    suite = Naive()
    await suite.test_a_session_finds_what_was_said_in_it()  # it is no straw man
    for check in (
        suite.test_sessions_that_share_a_block_never_see_each_others_memories,
        suite.test_sessions_at_the_same_time_do_not_mix,
        suite.test_the_users_last_message_decides_however_much_was_said_since,
        suite.test_nothing_asked_finds_nothing,
        suite.test_tool_calls_are_no_memories,
        suite.test_the_event_loop_stays_free,
        suite.test_an_agent_is_reminded_of_its_own_session_after_the_history_was_flushed,
    ):
        with pytest.raises(AssertionError):
            await check()


async def test_the_session_that_asks_first_does_not_decide_what_the_others_see():
    # https://github.com/run-llama/llama_index/issues/22701
    leaks = {}
    for name, block in (("naive", Naive().open_block()), ("ours", TestEachSessionOnItsOwn().open_block())):
        await remember(block, "anna", "anna")
        await remember(block, "boris", "boris")
        await recall(block, "anna")
        leaks[name] = "marmalade" in await recall(block, "boris")
    assert leaks == {"naive": True, "ours": False}


# --- whose memories


async def test_a_user_is_remembered_across_sessions_and_apart_from_other_users(memory):
    ann, bob = RagMemoryBlock(user="ann", memory=memory), RagMemoryBlock(user="bob", memory=memory)
    await remember(ann, "monday", "anna")
    asked = [user("what is the secret of anna")]
    assert "marmalade" in await ann.aget(asked, session_id="friday")
    assert await bob.aget(asked, session_id="monday") == ""
    only_now = RagMemoryBlock(user="ann", memory=memory, across_sessions=False)
    assert await only_now.aget(asked, session_id="friday") == ""
    assert "marmalade" in await only_now.aget(asked, session_id="monday")
    assert (memory.count("ann"), memory.count("bob")) == (1, 0)


async def test_a_session_named_like_a_user_is_not_that_user(memory):
    await remember(RagMemoryBlock(user="ann", memory=memory), "s", "anna")
    sessions = RagMemoryBlock(memory=memory)
    assert await sessions.aget([user("the secret of anna")], session_id="ann") == ""
    await remember(sessions, "ann", "boris")
    assert memory.count(sessions.user_of("ann")) == 1
    assert "gunpowder" not in await RagMemoryBlock(user="ann", memory=memory).aget([user("the secret of boris")])


async def test_neither_user_nor_session_is_refused_before_anything_is_read_or_written(memory, watched):
    block = RagMemoryBlock(memory=memory)
    for call in (block.aget([user("secret")]), block.aput([user("secret")]), block.aget([]), block.aput([user("")])):
        with pytest.raises(UserRequiredError, match=r"RagMemoryBlock\(user="):
            await call
    assert len(memory) == 0
    assert watched.queries == []


async def test_the_session_may_come_with_the_messages_and_the_argument_wins(memory):
    block = RagMemoryBlock(memory=memory)
    marked = [user("the secret of anna is marmalade", additional_kwargs={"session_id": "old"})]
    await block.aput(marked, session_id="new")
    assert (memory.count("session:old"), memory.count("session:new")) == (0, 1)
    await block.aput(marked)
    assert memory.count("session:old") == 1


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["s1", "s2", "s3"]), st.booleans(), st.integers(0, 5)), min_size=1, max_size=12
)


@given(ACTIONS)
@settings(max_examples=30, deadline=None)
def test_two_interleaved_sessions_never_see_each_others_memories(actions):
    async def run():
        with MemoryRetriever(WordEncoder()) as memory:
            by_session = RagMemoryBlock(memory=memory, k=20, max_tokens=2000)
            by_user = {name: RagMemoryBlock(user=name, memory=memory, k=20) for name in ("s1", "s2", "s3")}
            said: dict[str, set[str]] = {"s1": set(), "s2": set(), "s3": set()}
            for session, is_put, number in actions:
                for block in (by_session, by_user[session]):
                    if is_put:
                        word = f"{session}word{number}"
                        said[session].add(word)
                        await block.aput([user(f"my secret is {word}"), assistant("noted")], session_id=session)
                        continue
                    text = await block.aget([user(f"my secret is s1word{number} s2word{number}")], session_id=session)
                    words = {word.rstrip(".") for word in text.split() if "word" in word}
                    assert words == said[session]

    asyncio.run(run())


async def test_two_memories_with_one_block_and_a_real_agent_never_mix(memory):
    block = RagMemoryBlock(memory=memory, k=10)
    shown = await chat(block, ["anna", "boris"])
    assert "marmalade" in shown["anna"]
    assert "gunpowder" in shown["boris"]
    assert "gunpowder" not in shown["anna"]
    assert "marmalade" not in shown["boris"]
    assert memory.count("session:anna") == memory.count("session:boris") >= 4


async def test_a_user_is_remembered_in_a_new_chat_with_a_real_agent(memory):
    await chat(RagMemoryBlock(user="ann", memory=memory), ["anna"])
    for name, is_reminded in (("ann", True), ("bob", False)):
        model = ScriptedLLM(responses=["hello"])
        block = RagMemoryBlock(user=name, memory=memory)
        async with open_memory(block, session_id="fresh") as fresh:
            await FunctionAgent(llm=model).run(user_msg="what is the secret of anna", memory=fresh)
        assert ("marmalade" in model.calls[0].text) is is_reminded


# --- what is remembered


async def test_a_flushed_batch_becomes_exchanges_and_late_replies_complete_them(memory):
    block = RagMemoryBlock(user="ann", memory=memory)
    await block.aput([user("one"), assistant("reply one"), user("two")], session_id="s")
    await block.aput([assistant("reply two"), user("three"), assistant("reply three")], session_id="s")
    texts = {hit.item.text for hit in memory.retrieve("one two three", 9, user="ann")}
    assert texts == {
        "user: one\nassistant: reply one",
        "user: two\nassistant: reply two",
        "user: three\nassistant: reply three",
    }


async def test_only_words_of_user_and_assistant_are_embedded(memory, watched):
    block = RagMemoryBlock(user="ann", memory=memory)
    thought = ThinkingBlock(content="thought-word")
    answer = ChatMessage(role="chatbot", blocks=[thought, *assistant("the answer").blocks])
    developer = ChatMessage(role="developer", content="system-word")
    await block.aput([developer, user("the question"), answer, ChatMessage(role="function", content="x")])
    assert watched.documents == ["Speaker 1: the question\nSpeaker 2: the answer"]
    await block.aget([user("another question"), ChatMessage(role="tool", content="tool-word")])
    assert set(watched.queries) == {"another question"}


async def test_messages_stay_as_they_are(memory):
    block = RagMemoryBlock(memory=memory)
    messages = [user("the secret", additional_kwargs={"a": 1}), assistant("is kept")]
    before = copy.deepcopy(messages)
    await block.aput(messages, from_short_term_memory=True, session_id="s")
    await block.aget(messages, session_id="s")
    assert messages == before


async def test_a_block_that_refuses_short_term_memory_still_takes_what_is_put_by_hand(memory):
    block = RagMemoryBlock(user="ann", memory=memory, accept_short_term_memory=False)
    await block.aput([user("flushed")], from_short_term_memory=True, session_id="s")
    assert len(memory) == 0
    await block.aput([user("by hand")], session_id="s")
    assert len(memory) == 1


async def test_what_the_history_still_shows_is_not_recalled(memory):
    block = RagMemoryBlock(user="ann", memory=memory)
    await block.aput([user("the red cat"), assistant("a cat"), user("the red dog"), assistant("a dog")])
    text = await block.aget([user("the red cat"), assistant("a cat"), user("the red pets")])
    assert "a dog" in text
    assert "a cat" not in text


async def test_it_works_beside_other_blocks_that_change_the_messages(memory):
    theirs = VectorMemoryBlock(vector_store=ListStore(), embed_model=WordEmbedding())
    blocks = [theirs, RagMemoryBlock(memory=memory), StaticMemoryBlock(name="x", static_content="static")]
    small = {"token_limit": 60, "token_flush_size": 10, "chat_history_token_ratio": 0.3}
    async with open_memory(*blocks, session_id="s", **small) as chat_memory:
        for number in range(8):
            await chat_memory.aput_messages([user(f"question number {number}"), assistant(f"answer number {number}")])
    assert memory.count("session:s") >= 3
    assert len(memory) == memory.count("session:s")


# --- options and copies


def test_unknown_and_impossible_options_are_refused(memory, watched, tmp_path):
    for wrong in (
        {"similarity_top_k": 3},
        {"k": 0},
        {"max_tokens": 0},
        {"recency": 2},
        {"score_threshold": float("nan")},
        {"user": ""},
        {"embedder": watched},
        {"path": tmp_path / "m"},
    ):
        with pytest.raises(ValidationError):
            RagMemoryBlock(**{"memory": memory, "user": "ann", **wrong})
    with pytest.raises(ValidationError, match="got none of them"):
        RagMemoryBlock(user="ann")
    with pytest.raises(ValidationError, match="expected a MemoryRetriever"):
        RagMemoryBlock(memory=watched)
    with pytest.raises(ValidationError, match="embedder, model"):
        RagMemoryBlock(embedder=watched, model="x")
    assert not (tmp_path / "m").exists()


async def test_options_of_the_block_are_refused_in_a_call_and_those_of_other_blocks_are_not(memory):
    block = RagMemoryBlock(memory=memory, user="ann")
    for wrong in ("user", "k", "score_threshold"):
        with pytest.raises(InputError, match=wrong):
            await block.aget([user("x")], session_id="s", **{wrong: "bob"})
    assert await block.aget([user("x")], session_id="s", topic="for another block") == ""


async def test_what_is_no_message_is_refused(memory):
    block = RagMemoryBlock(memory=memory, user="ann")
    for wrong in (["text"], "text", [{"role": "user", "content": "x"}]):
        with pytest.raises(InputError, match="ChatMessages"):
            await block.aget(wrong)
        with pytest.raises(InputError, match="ChatMessages"):
            await block.aput(wrong)
    assert len(memory) == 0


def test_two_blocks_of_one_name_are_refused_by_the_framework(memory):
    with pytest.raises(ValueError, match="unique"):
        Memory.from_defaults(memory_blocks=[RagMemoryBlock(memory=memory), RagMemoryBlock(memory=memory, user="ann")])
    Memory.from_defaults(memory_blocks=[RagMemoryBlock(memory=memory), RagMemoryBlock(memory=memory, name="other")])


def test_a_block_of_path_and_model_survives_dict_json_and_pickle(tmp_path, tiny_folder):
    options = {"path": str(tmp_path / "memory"), "model": str(tiny_folder), "user": "ann", "k": 2, "recency": 0.5}
    block = RagMemoryBlock(**options)
    asyncio.run(remember(block, "s", "anna"))
    copies = (
        RagMemoryBlock(**block.model_dump()),
        RagMemoryBlock.model_validate_json(block.model_dump_json()),
        pickle.loads(pickle.dumps(block)),
        copy.deepcopy(block),
    )
    for one in copies:
        assert one.model_dump() == block.model_dump()
        assert "marmalade" in asyncio.run(recall(one, "anna"))
        one.close()


def test_a_live_memory_cannot_be_copied_into_another_process_and_says_so(memory, watched, tmp_path):
    for live in (RagMemoryBlock(memory=memory), RagMemoryBlock(embedder=watched, path=tmp_path / "m")):
        with pytest.raises(TypeError, match="path= and model="):
            pickle.dumps(live)
        assert copy.deepcopy(live).retriever is live.retriever
    with pytest.raises(ValidationError, match="got none of them"):
        RagMemoryBlock(**RagMemoryBlock(memory=memory).model_dump())


def test_memories_outlive_the_process_that_wrote_them(tmp_path, watched):
    block = RagMemoryBlock(embedder=watched, path=tmp_path / "m", user="ann")
    asyncio.run(remember(block, "s", "anna"))
    block.close()
    watched.documents.clear()
    again = RagMemoryBlock(embedder=watched, path=tmp_path / "m", user="ann")
    assert "marmalade" in asyncio.run(recall(again, "anna"))
    assert watched.documents == []
    again.close()
    with pytest.raises(ModelMismatchError):
        RagMemoryBlock(embedder=WordEncoder(salt="other"), path=tmp_path / "m", user="ann")


def test_a_store_is_closed_by_who_opened_it(memory, watched):
    RagMemoryBlock(memory=memory).close()
    assert len(memory) == 0
    own = RagMemoryBlock(embedder=watched)
    own.close()
    with pytest.raises(StoreClosedError):
        asyncio.run(recall(own, "anna"))


async def test_a_failure_while_writing_is_not_swallowed(watched):
    block = RagMemoryBlock(embedder=watched)
    watched.failure = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        await remember(block, "s", "anna")
    watched.failure = None
    assert await recall(block, "s") == ""
    block.close()


def test_sixteen_threads_with_a_loop_each_share_a_block(memory):
    from concurrent.futures import ThreadPoolExecutor

    block = RagMemoryBlock(memory=memory)

    def session(number):
        async def run():
            name = f"s{number}"
            await block.aput([user(f"my secret is word{number}x")], session_id=name)
            return await block.aget([user("what is my secret")], session_id=name)

        return asyncio.run(run())

    with ThreadPoolExecutor(16) as threads:
        texts = list(threads.map(session, range(32)))
    for number, text in enumerate(texts):
        assert [word for word in text.split() if word.startswith("word")] == [f"word{number}x"]
