"""Users and sessions that share a store never share a place in it, whatever they are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from integrations.llama_index import RagMemoryBlock
from rag_embedder import MemoryRetriever
from rag_embedder.errors import InputError
from tests.integrations.llama_index.test_memory import user
from tests.retriever_cases import WordEncoder


@pytest.fixture
def memory():
    with MemoryRetriever(WordEncoder()) as opened:
        yield opened


RESERVED = ("session:ann", "session:", "session:session:ann")


async def test_no_user_is_a_session_whatever_they_are_called(memory):
    sessions = RagMemoryBlock(memory=memory)
    await sessions.aput([user("My PIN is 1234")], session_id="monday")
    for name in (*RESERVED, "session:monday"):
        with pytest.raises(ValidationError, match=r"user: got a name that begins with 'session:'.*such as 'user:'"):
            RagMemoryBlock(user=name, memory=memory)
    later = RagMemoryBlock(user="ann", memory=memory)
    later.user = "session:monday"  # past the checks of a new block
    copied = later.model_copy(update={"user": "session:monday"})
    for block in (later, copied):
        with pytest.raises(InputError, match="session:"):
            await block.aget([user("PIN?")], session_id="x")
        with pytest.raises(InputError, match="session:"):
            await block.aput([user("PIN?")], session_id="x")
    assert memory.count("session:monday") == 1


NAMES = st.text(st.sampled_from("sesion:ann\\/%\u00e9 S"), min_size=1, max_size=14) | st.sampled_from(RESERVED)


@given(NAMES, NAMES, NAMES)
def test_users_and_sessions_never_share_a_place(name, one, other):
    with MemoryRetriever(WordEncoder()) as memory:
        sessions = RagMemoryBlock(memory=memory)
        assert (sessions.user_of(one) == sessions.user_of(other)) is (one == other)
        try:
            block = RagMemoryBlock(user=name, memory=memory)
        except ValidationError:
            assert name.startswith("session:")
        else:
            assert block.user_of(one) == name
            assert sessions.user_of(one) != name
            assert sessions.user_of(name) != name


async def test_a_session_that_is_no_name_is_refused(memory):
    block = RagMemoryBlock(memory=memory)
    for wrong in (5, ["s"], "x" * 500, "a\nb"):
        for call in (block.aget([user("secret")], session_id=wrong), block.aput([user("secret")], session_id=wrong)):
            with pytest.raises(InputError, match="session_id: got"):
                await call
    assert len(memory) == 0


async def test_sessions_in_a_store_that_was_written_before_are_found(memory):
    memory.add_turns([{"role": "user", "content": "My PIN is 1234"}], user="session:monday", session="monday")
    sessions = RagMemoryBlock(memory=memory)
    assert "1234" in await sessions.aget([user("PIN?")], session_id="monday")
    assert await sessions.aget([user("PIN?")], session_id="session:monday") == ""
