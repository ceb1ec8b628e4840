"""What a LlamaIndex memory block must do: `MemoryBlockConformance`, for any block that recalls what was said."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.memory import Memory
from llama_index.core.memory.memory import BaseMemoryBlock
from sqlalchemy.ext.asyncio import create_async_engine

from integrations.conformance.loop_ticks import check_loop_was_free, count_ticks
from integrations.conformance.scripted_llm import ScriptedLLM

_SECONDS = 0.3

_FACTS = {"anna": "marmalade", "boris": "gunpowder", "chen": "saxophone"}
"""By chat: a word that is said in no other."""


class MemoryBlockConformance:
    """Subclass it, override `open_block`, and pytest runs its tests on your block.

    class TestMine(MemoryBlockConformance):
        def open_block(self, *, seconds=0.0):
            return MyBlock(embed_model=Slow(seconds))

    The block must keep sessions apart, and find an exchange again by a question that shares its words.
    """

    def open_block(self, *, seconds: float = 0.0) -> BaseMemoryBlock[Any]:
        """A new, empty block; each pass through its model takes `seconds`."""
        raise NotImplementedError(f"{type(self).__name__}.open_block")

    async def test_a_session_finds_what_was_said_in_it(self) -> None:
        """By the last thing that the user says."""
        block = self.open_block()
        await remember(block, "anna", "anna")
        assert _FACTS["anna"] in await recall(block, "anna")

    async def test_sessions_that_share_a_block_never_see_each_others_memories(self) -> None:
        """Whoever asked first, and in whatever order they write and ask."""
        block = self.open_block()
        for session in _FACTS:
            await remember(block, session, session)
        for asked in (*_FACTS, *reversed(_FACTS)):
            text = await recall(block, asked)
            assert _FACTS[asked] in text
            assert not any(word in text for session, word in _FACTS.items() if session != asked)

    async def test_sessions_at_the_same_time_do_not_mix(self) -> None:
        """The same with forty calls under way."""
        block = self.open_block()
        await asyncio.gather(*(remember(block, session, session) for session in _FACTS))
        asked = list(_FACTS) * 13
        for session, text in zip(asked, await asyncio.gather(*(recall(block, one) for one in asked)), strict=True):
            assert _FACTS[session] in text
            assert not any(word in text for other, word in _FACTS.items() if other != session)

    async def test_a_session_without_memories_finds_nothing(self) -> None:
        """Other sessions' memories are no substitute."""
        block = self.open_block()
        await remember(block, "anna", "anna")
        assert await recall(block, "somebody new") == ""

    async def test_the_users_last_message_decides_however_much_was_said_since(self) -> None:
        """Long answers and results of tools are not what the user asks for."""
        block = self.open_block()
        await remember(block, "s", "anna")
        for number in range(12):
            turns = [f"the {_FACTS['chen']} of chen, number {number}", f"yes, the {_FACTS['chen']} of chen"]
            said = [
                ChatMessage(role=role, content=text) for role, text in zip(("user", "assistant"), turns, strict=True)
            ]
            await block.aput(said, from_short_term_memory=True, session_id="s")
        noise = " ".join(f"The {_FACTS['chen']} of chen." for _ in range(9))
        messages = [
            ChatMessage(role="user", content="tell me about chen"),
            ChatMessage(role="assistant", content=noise),
            ChatMessage(role="user", content="what is the secret of anna"),
            ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_name="look_up", tool_kwargs={"who": "chen"})]),
            ChatMessage(role="tool", content=noise),
        ]
        assert _FACTS["anna"] in as_text(await block.aget(messages, session_id="s"))

    async def test_nothing_asked_finds_nothing(self) -> None:
        """No messages, and messages without words, are no accident."""
        block = self.open_block()
        await remember(block, "anna", "anna")
        for messages in (None, [], [ChatMessage(role="user", blocks=[])], [ChatMessage(role="user", content="  ")]):
            assert as_text(await block.aget(messages, session_id="anna")) == ""

    async def test_tool_calls_are_no_memories(self) -> None:
        """Neither their arguments nor their results, nor what a provider notes beside a message."""
        block = self.open_block()
        turns = _exchange("anna")
        call = ToolCallBlock(tool_name="look_up", tool_kwargs={"key": "argument-word"})
        turns[1:1] = [
            ChatMessage(role="assistant", blocks=[call], additional_kwargs={"tool_calls": "beside-word"}),
            ChatMessage(role="tool", content="result-word", additional_kwargs={"tool_call_id": "1"}),
        ]
        turns[-1].additional_kwargs["usage"] = "beside-word"
        await block.aput(turns, from_short_term_memory=True, session_id="anna")
        text = await recall(block, "anna")
        assert _FACTS["anna"] in text
        assert not any(word in text for word in ("argument-word", "result-word", "beside-word"))

    async def test_the_event_loop_stays_free(self) -> None:
        """While the model encodes, others are served."""
        block = self.open_block(seconds=_SECONDS)
        _, ticks = await count_ticks(remember(block, "anna", "anna"))
        check_loop_was_free(ticks)
        text, ticks = await count_ticks(recall(block, "anna"))
        assert _FACTS["anna"] in text
        check_loop_was_free(ticks)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")  # agents read all attributes of themselves
    async def test_an_agent_is_reminded_of_its_own_session_after_the_history_was_flushed(self) -> None:
        """Real `FunctionAgent`s with real `Memory` objects that share the block, and a scripted model."""
        block = self.open_block()
        shown = await chat(block, list(_FACTS))
        for session, word in _FACTS.items():
            assert word in shown[session]
            assert not any(other in shown[session] for name, other in _FACTS.items() if name != session)


@asynccontextmanager
async def open_memory(*blocks: BaseMemoryBlock[Any], **options: Any) -> AsyncIterator[Memory]:  # noqa: ANN401
    """A `Memory` in this process whose database connection is closed at the end, which `Memory` itself never does."""
    engine = create_async_engine("sqlite+aiosqlite:///:memory:")
    try:
        yield Memory.from_defaults(memory_blocks=[*blocks], async_engine=engine, **options)
    finally:
        await engine.dispose()


async def chat(block: BaseMemoryBlock[Any], sessions: Sequence[str], *, num_fillers: int = 6) -> dict[str, str]:
    """One conversation for each session, in turns; what the model was shown at the last question, system text only."""
    small = {"token_limit": 600, "token_flush_size": 20, "chat_history_token_ratio": 0.1}
    fillers = [f"number {number} of many other things that one could talk about" for number in range(num_fillers)]
    async with AsyncExitStack() as opened:
        models = {session: ScriptedLLM(responses=lambda _: "I see.") for session in sessions}
        memories = {
            session: await opened.enter_async_context(open_memory(block, session_id=session, **small))
            for session in sessions
        }
        for said in ("the secret of {0} is the {1}", *fillers, "what is the secret of {0}"):
            for session in sessions:
                agent = FunctionAgent(llm=models[session], streaming=False)
                await agent.run(user_msg=said.format(session, _FACTS[session]), memory=memories[session])
    return {session: _system_text(model) for session, model in models.items()}


async def remember(block: BaseMemoryBlock[Any], session: str, about: str) -> None:
    """Let the block have an exchange, as `Memory` does when it flushes one."""
    await block.aput(_exchange(about), from_short_term_memory=True, session_id=session)


async def recall(block: BaseMemoryBlock[Any], session: str) -> str:
    """What the block gives for a question about the session's own secret."""
    asked = [ChatMessage(role="user", content=f"what is the secret of {session}")]
    return as_text(await block.aget(asked, session_id=session))


def as_text(content: Any) -> str:  # noqa: ANN401  (a block may give text, content blocks or messages)
    """The words of what a block gave."""
    if isinstance(content, str):
        return content
    return "\n".join(getattr(part, "text", None) or getattr(part, "content", None) or "" for part in content or [])


def _exchange(about: str) -> list[ChatMessage]:
    return [
        ChatMessage(role="user", content=f"the secret of {about} is the {_FACTS[about]}"),
        ChatMessage(role="assistant", content=f"I shall keep the secret of {about}"),
    ]


def _system_text(model: ScriptedLLM) -> str:
    messages = model.calls[-1].messages
    return "\n".join(message.content or "" for message in messages if message.role == MessageRole.SYSTEM)
