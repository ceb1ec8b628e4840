"""What the five retrievers have in common: a store and searches to look after, and calls that leave the loop free."""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from rag_embedder.errors import InputError
from rag_embedder.retrievers.entries import is_blank
from rag_embedder.search import SemanticSearch
from rag_embedder.store import Store
from rag_embedder.texts import check_texts

ResultT = TypeVar("ResultT")


class _Threads:
    """The threads that all retrievers of this process share.

    Bounded: more of them would only wait for the model. Concurrent queries are encoded together by the encoder.
    """

    def __init__(self) -> None:
        self.restart()
        if hasattr(os, "register_at_fork"):
            # A forked child inherits the pool but none of its threads: work given to it would wait for ever.
            os.register_at_fork(after_in_child=self.restart)

    def restart(self) -> None:
        self.pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="rag-embedder")


_THREADS = _Threads()


async def in_thread(call: Callable[[], ResultT]) -> ResultT:
    """The result of a blocking call, made off the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS.pool, call)


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
        with ExitStack() as closing:  # last in, first out; each is closed even if another fails
            closing.callback(self._store.close)
            for search in reversed(self._searches):
                closing.callback(search.close)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a retriever cannot be pickled or copied; open its path again in the other process.")

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else str(self.path)
        return f"{type(self).__name__}({where}{', closed' if self._is_closed else ''})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def retrieve_non_empty(
    queries: Iterable[str], retrieve: Callable[[list[str]], list[list[ResultT]]]
) -> list[list[ResultT]]:
    """Results in the order of the queries; an empty query finds nothing (agents do send them).

    `retrieve` is called even without any query left: it checks the other arguments, which must not depend on the text.
    """
    checked = check_texts(queries, field="queries")
    is_asked = [not is_blank(query) for query in checked]
    results = iter(retrieve([query for query, asked in zip(checked, is_asked, strict=True) if asked]))
    return [next(results) if asked else [] for asked in is_asked]


def check_max_tokens(max_tokens: object, *, may_be_none: bool = False) -> None:
    """Raise InputError unless a budget of tokens is an int of at least 1."""
    if may_be_none and max_tokens is None:
        return
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
        raise InputError(
            f"max_tokens: got {max_tokens!r}; expected {'None or ' if may_be_none else ''}an int of at least 1."
        )
