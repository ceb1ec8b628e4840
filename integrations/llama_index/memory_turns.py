"""Messages of a chat as the turns that a session is to remember, each of them once."""

import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from rag_embedder.errors import InputError
from rag_embedder.retrievers.memory import MemoryRetriever
from rag_embedder.retrievers.turns import group_exchanges
from rag_embedder.search import MAX_K
from rag_embedder.types import Turn

_SPEAKERS = {
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
}
_DEPTH = 2_000
"""Exchanges of a session that are compared, besides as many as are given: more than a chat history holds."""

_LOCKS: WeakKeyDictionary[MemoryRetriever, threading.Lock] = WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


def as_turn(message: object) -> Turn | None:
    """What the user or the assistant said; None for other roles.

    Raises:
        InputError: for what is no ChatMessage.
    """
    if not isinstance(message, ChatMessage):
        raise InputError(f"messages: got a {type(message).__name__} among them; expected LlamaIndex's ChatMessages.")
    speaker = _SPEAKERS.get(message.role)
    return None if speaker is None else Turn(speaker, message.content or "")


def remember_once(retriever: MemoryRetriever, turns: Sequence[Turn], *, user: str, session: str) -> None:
    """Remember turns of a chat history, but for those that the session holds word for word.

    `add_turns` knows the session's end when it is passed again. `Memory` flushes from the beginning of its history,
    so what was remembered ahead of a flush comes again as a piece from the middle.

    Args:
        retriever: where they are kept.
        turns: whole exchanges in their order, the last one perhaps without its reply yet.
        user: whose they are.
        session: where they were said.
    """
    # One writer at a time for each store, so that nothing comes between looking and writing.
    with _LOCKS_GUARD:
        lock = _LOCKS.setdefault(retriever, threading.Lock())
    with lock:
        groups = group_exchanges(turns)
        stored = _stored(retriever, user, session, len(groups) + _DEPTH)
        retriever.add_turns(_unknown(groups, stored), user=user, session=session)


def _stored(retriever: MemoryRetriever, user: str, session: str, limit: int) -> list[tuple[Turn, ...]]:
    found = retriever.exchanges(user=user, session=session, limit=min(limit, MAX_K))
    return [exchange.turns for exchange in found]


def _unknown(groups: Sequence[tuple[Turn, ...]], stored: Sequence[tuple[Turn, ...]]) -> list[Turn]:
    """The turns to add: whole exchanges, after the rest of the session's last one if the first of them has more."""
    beginnings: dict[Turn, list[tuple[Turn, ...]]] = {}
    for exchange in stored:
        beginnings.setdefault(exchange[0], []).append(exchange)
    new = [
        group
        for group in groups
        if not any(exchange[: len(group)] == group for exchange in beginnings.get(group[0], ()))
    ]
    if new and stored:
        newest = stored[-1]
        shared = next((n for n in range(len(newest), 0, -1) if newest[-n:] == new[0][:n]), 0)
        new[0] = new[0][shared:]
    return [turn for group in new for turn in group]
