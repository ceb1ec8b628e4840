"""What the five retrievers have in common: a store and searches to look after, and calls that leave the loop free."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rag_embedder.errors import InvalidTextError
from rag_embedder.search import SemanticSearch
from rag_embedder.store import Store
from rag_embedder.texts import check_text, check_texts

ResultT = TypeVar("ResultT")

# Bounded: more threads than this only wait for the model. Concurrent queries are encoded together by the encoder.
_POOL = ThreadPoolExecutor(max_workers=16, thread_name_prefix="rag-embedder")


async def in_thread(call: Callable[[], ResultT]) -> ResultT:
    """The result of a blocking call, made off the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, call)


class StoreOwner:
    """Closes what it opened: its searches first, so that they can write their caches, then the store."""

    def __init__(self, store: Store, searches: Sequence[SemanticSearch]) -> None:
        self._store = store
        self._searches = tuple(searches)
        self._is_closed = False

    @property
    def path(self) -> Path | None:
        """The durable store's folder; None if all is in memory."""
        return self._store.path

    def close(self) -> None:
        """Write the index cache and close the store; what `add` acknowledged is safe without it too."""
        if self._is_closed:
            return
        self._is_closed = True
        for search in self._searches:
            search.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_document_text(text: object, *, field: str) -> str:
    """A text that can be stored and found.

    Raises:
        InvalidTextError: if it is not a string, or nothing but white space.
    """
    checked = check_text(text, field=field)
    if not checked.strip():
        raise InvalidTextError(f"{field}: the text is empty; expected words to search for. Nothing was added.")
    return checked


def retrieve_non_empty(
    queries: Iterable[str], retrieve: Callable[[list[str]], list[list[ResultT]]]
) -> list[list[ResultT]]:
    """Results in the order of the queries; an empty query finds nothing (agents do send them)."""
    checked = check_texts(queries, field="queries")
    asked = [query for query in checked if query.strip()]
    results = iter(retrieve(asked) if asked else [])
    return [next(results) if query.strip() else [] for query in checked]


def content_id(*texts: str) -> str:
    """A stable id made from content: 32 hex digits."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


def digest(payloads: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> str:
    """Hash over everything that is stored and encoded for one entry: equal means that nothing has changed."""
    try:
        content = json.dumps([list(map(dict, payloads)), dict(metadata)], sort_keys=True)
    except (TypeError, ValueError):
        return ""  # not JSON: the store refuses it with the path of the value
    return hashlib.sha256(content.encode()).hexdigest()
