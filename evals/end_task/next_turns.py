"""The protocol of Multi-Session Chat on any set of dialogues: which earlier exchange helps to say the next reply?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evals.datasets.conversations import Conversation, read_conversations
from evals.end_task.retrieval import memory_set
from evals.records import EvaluationSet, Query
from rag_embedder.retrievers.memory import exchange_text
from rag_embedder.types import Turn


def read_next_turns(folder: Path, split: str, *, name: str) -> EvaluationSet:
    """One query per reply of each dialogue's last session: the user's turn, with all exchanges before it as memories.

    A query searches the group of its own id, because the memories of a later reply are more. Exchanges are written as
    `Speaker 1: ...` and `Speaker 2: ...`, the form that LLM-Embedder was trained on.

    Raises:
        DataSetError: with all that is wrong with the file.
    """
    memories: dict[str, list[str]] = {}
    queries: list[Query] = []
    for conversation in read_conversations(folder, split, name=name):
        exchanges = [conversation.turns[first:stop] for first, stop in conversation.windows]
        for number in _last_session(conversation):
            asked = _asked(exchanges[number])
            if number == 0 or asked is None:
                continue
            id_ = f"{conversation.id}@{number}"
            memories[id_] = [_written(exchange) for exchange in exchanges[:number]]
            queries.append(Query(id=id_, text=asked[0], within=id_, answers=(asked[1],)))
    return replace(memory_set(memories, queries, name=name, scenario="chat"), split=f"{split}_next_turn")


def _last_session(conversation: Conversation) -> list[int]:
    """Numbers of the windows of the newest session."""
    if not conversation.sessions:
        return []
    newest = conversation.sessions[-1]
    return [n for n, (first, _) in enumerate(conversation.windows) if conversation.sessions[first] == newest]


def _asked(exchange: Sequence[Turn]) -> tuple[str, str] | None:
    """The user's words and the reply, of an exchange that has both."""
    if len(exchange) < 2 or exchange[0].role != "user" or exchange[1].role != "assistant":
        return None
    return exchange[0].content, exchange[1].content


def _written(exchange: Sequence[Turn]) -> str:
    known = [[turn.role, turn.content] for turn in exchange if turn.role in ("user", "assistant")]
    return exchange_text({"turns": known})
