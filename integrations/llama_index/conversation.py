"""Retrieval for chat engines: the whole dialogue is the query, and no language model rewrites it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.memory import BaseMemory
from llama_index.core.schema import NodeWithScore, QueryBundle

from integrations.llama_index.retriever import Filters, RagRetriever, query_of
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.retrievers.conversation import ConversationRetriever
from rag_embedder.search import Mode
from rag_embedder.types import Turn

ChatHistory = BaseMemory | Sequence[ChatMessage] | Callable[[], Iterable[ChatMessage]]

_ROLES = {
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
}
"""The roles of what was said; instructions, tool calls and their results are no part of a dialogue."""


class RagConversationRetriever(BaseRetriever):
    """Passages for the last question of a chat, found with all that was said before.

    A chat engine gives a retriever the last message only, or has a language model rewrite it. This one reads the chat
    from the engine's own memory, so it works with `CondensePlusContextChatEngine(..., skip_condense=True)` and with
    `ContextChatEngine`, and costs no call. One object belongs to one chat; many of them may share a retriever.

    Args:
        retriever: a `ConversationRetriever`; it opens the store of a `KnowledgeRetriever` too.
        memory: the memory that the chat engine writes to, a list of messages that is kept up to date, or a function
            that returns the messages of the current chat. It is only read.
        k: how many nodes at most.
        filters: only what has such metadata: LlamaIndex's `MetadataFilters` or a dict; applied before ranking.
        score_threshold: only what scores at least this much: a cosine in dense mode.
        mode: "dense", "lexical" or "hybrid"; None leaves it to the retriever.
        callback_manager: LlamaIndex's.

    Raises:
        ConfigError: for what is no `ConversationRetriever`, no memory, or an unknown mode.
        InputError: for a `k` out of range, a threshold that is no number, or filters that cannot be understood.
    """

    def __init__(
        self,
        retriever: ConversationRetriever,
        memory: ChatHistory,
        *,
        k: int = 5,
        filters: Filters | None = None,
        score_threshold: float | None = None,
        mode: Mode | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if not callable(getattr(retriever, "query_text", None)):
            raise ConfigError(
                f"retriever: got {type(retriever).__name__}; expected a ConversationRetriever, which opens the store "
                "of a KnowledgeRetriever too."
            )
        if isinstance(memory, str | type) or not (isinstance(memory, BaseMemory | Sequence) or callable(memory)):
            raise ConfigError(
                f"memory: got {type(memory).__name__}; expected the chat engine's memory, a list of ChatMessage, or a "
                "function that returns one."
            )
        self._inner = RagRetriever(retriever, k=k, filters=filters, score_threshold=score_threshold, mode=mode)
        self.retriever = retriever
        self.memory = memory
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._inner.find(_dialogue(_messages(self.memory), query_of(query_bundle)))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if isinstance(self.memory, BaseMemory):
            messages = await self.memory.aget_all()
        else:
            # In a thread that sees the task's context variables: a function may need them to know which chat it is.
            messages = await asyncio.to_thread(_messages, self.memory)
        return await self._inner.afind(_dialogue(messages, query_of(query_bundle)))


def _messages(memory: ChatHistory) -> Iterable[ChatMessage]:
    if isinstance(memory, BaseMemory):
        return memory.get_all()
    return list(memory() if callable(memory) else memory)


def _dialogue(messages: Iterable[ChatMessage], question: str) -> list[Turn]:
    """What was said, oldest first, with the question last; once only if the memory ends with it already."""
    turns: list[Turn] = []
    for position, message in enumerate(messages):
        if not isinstance(message, ChatMessage):
            raise InputError(f"memory[{position}]: got {type(message).__name__}; expected ChatMessage.")
        if message.role in _ROLES:
            turns.append(Turn(_ROLES[message.role], message.content or ""))
    asked = Turn("user", question)
    return turns if turns[-1:] == [asked] else [*turns, asked]
