"""The main job on input that every machine has: the Python standard library, and a small dialogue of our own."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rag_embedder.encoder import Embedder, TruncationWarning
from rag_embedder.quickstart.content import (
    Conversation,
    Request,
    load_conversations,
    load_demonstrations,
    load_dialogue,
    load_requests,
)
from rag_embedder.quickstart.standard_library import function_tools, module_documents
from rag_embedder.retrievers.conversation import ConversationRetriever
from rag_embedder.retrievers.demonstrations import DemonstrationRetriever
from rag_embedder.retrievers.knowledge import KnowledgeRetriever
from rag_embedder.retrievers.memory import MemoryRetriever
from rag_embedder.retrievers.tools import ToolRetriever
from rag_embedder.retrievers.turns import group_exchanges
from rag_embedder.search import AddReport, Mode
from rag_embedder.store import Store
from rag_embedder.types import Hit

_CHUNK_TOKENS = 200
"""So that, with title and instruction, no passage is longer than the model reads."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request with its hits, a remark on them, and what should be among them: ids, or a task."""

    request: str
    hits: Sequence[Hit[Any]]
    note: str = ""
    wanted: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One scenario: where its store lies, whether it was there already, and what was asked of it."""

    scenario: str
    items: str
    num_items: int
    path: Path
    is_reused: bool
    seconds: float
    answers: Sequence[Answer]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: hits as rank, score and id."""
        return {
            "scenario": self.scenario,
            "items": self.num_items,
            "path": str(self.path),
            "reused": self.is_reused,
            "seconds": round(self.seconds, 2),
            "answers": [
                {
                    "request": answer.request,
                    "note": answer.note,
                    "hits": [{"rank": hit.rank, "score": hit.score, "id": hit.id} for hit in answer.hits],
                }
                for answer in self.answers
            ],
        }


@dataclass(frozen=True, slots=True)
class _Search:
    mode: Mode
    k: int


def run_quickstart(
    embedder: Embedder, folder: Path, *, mode: Mode = "hybrid", k: int = 3, num_requests: int | None = 3
) -> list[Section]:
    """Fill the stores under `folder`, or find them filled, and retrieve in all five scenarios.

    Hybrid, because names of modules and functions are words that BM25 finds as they are written. `num_requests` are
    put to each scenario; None: all there are.
    """
    requests = {scenario: asked[:num_requests] for scenario, asked in load_requests().items()}
    conversations = load_conversations()[:num_requests]
    search = _Search(mode, k)
    with warnings.catch_warnings():
        # A few functions have more parameters than the model reads; the section says how many.
        warnings.simplefilter("ignore", TruncationWarning)
        return [
            _knowledge(embedder, folder / "knowledge", requests["knowledge"], search),
            _memory(embedder, folder / "memory", requests["memory"], search),
            _demonstrations(embedder, folder / "demonstrations", requests["demonstrations"], search),
            _tools(embedder, folder / "tools", requests["tools"], search),
            _conversation(embedder, folder / "knowledge", conversations, search),
        ]


def _knowledge(embedder: Embedder, path: Path, requests: Sequence[Request], search: _Search) -> Section:
    documents = module_documents()
    with KnowledgeRetriever(embedder, path=path, mode=search.mode, chunk_tokens=_CHUNK_TOKENS) as knowledge:
        is_reused, seconds = _timed(lambda: _is_unchanged(knowledge.update(documents)))
        return Section(
            scenario="knowledge: passages that answer a question",
            items="passages of the standard library's documentation",
            num_items=len(knowledge),
            path=path,
            is_reused=is_reused,
            seconds=seconds,
            answers=[_answer(each, knowledge.retrieve(each.text, search.k)) for each in requests],
        )


def _memory(embedder: Embedder, path: Path, requests: Sequence[Request], search: _Search) -> Section:
    sessions = load_dialogue()
    users = list(dict.fromkeys(session.user for session in sessions))
    with MemoryRetriever(embedder, path=path, mode=search.mode) as memory:

        def fill() -> bool:
            # A dialogue is a log: adding it twice would remember it twice.
            if len(memory) == sum(len(group_exchanges(session.turns)) for session in sessions):
                return True
            for user in users:
                memory.forget(user)
            for session in sessions:
                memory.add_turns(session.turns, user=session.user, session=session.session)
            return False

        is_reused, seconds = _timed(fill)
        answers = [
            Answer(f"{users[0]}: {each.text}", memory.retrieve(each.text, search.k, user=users[0]), wanted=each.wanted)
            for each in requests
        ]
        first = requests[0].text
        context = memory.context(first, user=users[0], max_tokens=128)
        answers[-1] = replace(answers[-1], note=f"context() for the first request:\n{context}")
        other = memory.retrieve(first, 1, user=users[1])
        answers.append(Answer(f"{users[1]}: {first}", other, "Another user: other memories, never mixed."))
        return Section(
            scenario="memory: what a user said before",
            items=f"exchanges of {len(users)} users",
            num_items=len(memory),
            path=path,
            is_reused=is_reused,
            seconds=seconds,
            answers=answers,
        )


def _demonstrations(embedder: Embedder, path: Path, requests: Sequence[Request], search: _Search) -> Section:
    pool = load_demonstrations()
    with DemonstrationRetriever(embedder, path=path, mode=search.mode) as demonstrations:
        is_reused, seconds = _timed(lambda: _is_unchanged(demonstrations.update(pool)))
        return Section(
            scenario="demonstrations: worked examples for the task at hand",
            items="demonstrations of five tasks",
            num_items=len(demonstrations),
            path=path,
            is_reused=is_reused,
            seconds=seconds,
            answers=[_answer(each, demonstrations.retrieve(each.text, search.k)) for each in requests],
        )


def _tools(embedder: Embedder, path: Path, requests: Sequence[Request], search: _Search) -> Section:
    functions = function_tools()
    with ToolRetriever(embedder, path=path, mode=search.mode) as tools:
        cut_before = embedder.num_truncated
        is_reused, seconds = _timed(lambda: _is_unchanged(tools.update(functions)))
        cut = embedder.num_truncated - cut_before
        answers = []
        for each in requests:
            hits = tools.retrieve(each.text, search.k)
            tokens = tools.schema_tokens(hits)
            answers.append(_answer(each, hits, f"{tokens.chosen:,} of {tokens.all_tools:,} schema tokens to send"))
        return Section(
            scenario="tools: the few functions a request needs",
            items="documented functions of the standard library" + (f" ({cut} read without their ends)" if cut else ""),
            num_items=len(tools),
            path=path,
            is_reused=is_reused,
            seconds=seconds,
            answers=answers,
        )


def _conversation(embedder: Embedder, path: Path, conversations: Sequence[Conversation], search: _Search) -> Section:
    with Store.open(path) as store:
        vectors = {space.scenario: space.num_vectors for space in store.spaces()}
        is_reused = vectors.get("convsearch") == vectors["qa"]
    with ConversationRetriever(embedder, path=path, mode=search.mode) as conversation:
        # The first search gives the knowledge store's passages their vectors for this scenario.
        first, seconds = _timed(lambda: conversation.retrieve(conversations[0].turns, search.k))
        rankings = [first, *conversation.retrieve_batch([each.turns for each in conversations[1:]], search.k)]
        return Section(
            scenario="conversational search: passages for the last question of a dialogue",
            items="passages, those of the knowledge store",
            num_items=len(conversation),
            path=path,
            is_reused=is_reused,
            seconds=seconds,
            answers=[
                Answer(
                    f"… {each.turns[-3].content} … {each.turns[-1].content}",
                    hits,
                    f"The query is all {len(each.turns)} turns of the dialogue.",
                    each.wanted,
                )
                for each, hits in zip(conversations, rankings, strict=True)
            ],
        )


def _answer(request: Request, hits: Sequence[Hit[Any]], note: str = "") -> Answer:
    return Answer(request.text, hits, note, request.wanted)


def _is_unchanged(report: AddReport) -> bool:
    # Another Python has another library: what changed is encoded again, and "nothing to encode" would be untrue.
    return not report.added and not report.updated


def _timed(fill: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = fill()
    return result, time.perf_counter() - start
