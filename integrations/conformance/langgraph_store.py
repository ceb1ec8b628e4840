"""Does a LangGraph store keep the role? Subclass `StoreRoleConformance` and give it your store.

class TestMyStore(StoreRoleConformance):
    @contextmanager
    def open_store(self, index):
        yield MyStore(index=index)
"""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, PutOp, SearchItem, SearchOp


class TwoRoleEmbeddings(Embeddings):
    """An asymmetric model in small: the query "x" is nearest to the document "answer to x", and not to "x".

    `asked` and `written` note what was embedded as a query and as a document.
    """

    dim = 32

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.written: list[str] = []
        self._lock = threading.Lock()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One random direction per text, the same for equal texts."""
        with self._lock:
            self.written += texts
        return [_direction(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The direction of the document that answers."""
        with self._lock:
            self.asked.append(text)
        return _direction(f"answer to {text}")


class StoreRoleConformance:
    """Queries by the query side, items by the document side, sync and async, one by one and in batches.

    Override `open_store`, `open_async_store`, or both; set `has_sync` or `has_async` to False for what the store has
    not. The async tests run their own event loop.
    """

    has_sync = True
    has_async = True

    @contextmanager
    def open_store(self, index: dict[str, Any]) -> Iterator[BaseStore]:
        """An empty store made with this `index=`; called without an event loop."""
        raise NotImplementedError(f"{type(self).__name__}.open_store")
        yield

    @asynccontextmanager
    async def open_async_store(self, index: dict[str, Any]) -> AsyncIterator[BaseStore]:
        """The same, called inside the event loop; by default what `open_store` gives."""
        with self.open_store(index) as store:
            yield store

    def test_searches_reach_the_query_side(self) -> None:
        """What `search` finds is what the query side of the model puts first."""
        if self.has_sync:
            with self._opened() as (store, embeddings):
                for text in ("x", "answer to x"):
                    store.put(("docs",), text, {"text": text})
                _check_found(store.search(("docs",), query="x"), embeddings, asked=["x"])

    def test_async_searches_reach_the_query_side(self) -> None:
        """The same through `aput` and `asearch`."""

        async def run() -> None:
            async with self._opened_async() as (store, embeddings):
                for text in ("x", "answer to x"):
                    await store.aput(("docs",), text, {"text": text})
                _check_found(await store.asearch(("docs",), query="x"), embeddings, asked=["x"])

        if self.has_async:
            asyncio.run(run())

    def test_a_mixed_batch_keeps_roles_and_order(self) -> None:
        """Puts and searches of equal text in one `batch`: each by its own side, results in the order of the calls."""
        if self.has_sync:
            with self._opened() as (store, embeddings):
                store.put(("docs",), "answer to x", {"text": "answer to x"})
                results = store.batch(_mixed_batch())
                _check_mixed(results, embeddings)
                assert [item.key for item in store.search(("docs",), query="new", limit=1)] == ["later"]

    def test_an_async_mixed_batch_keeps_roles_and_order(self) -> None:
        """The same with `abatch`."""

        async def run() -> None:
            async with self._opened_async() as (store, embeddings):
                await store.aput(("docs",), "answer to x", {"text": "answer to x"})
                _check_mixed(await store.abatch(_mixed_batch()), embeddings)
                assert [item.key for item in await store.asearch(("docs",), query="new", limit=1)] == ["later"]

        if self.has_async:
            asyncio.run(run())

    def test_async_calls_of_one_moment_keep_their_roles(self) -> None:
        """Calls that a store gathers into one batch in the background: 8 searches among 8 puts."""

        async def run() -> None:
            async with self._opened_async() as (store, embeddings):
                for n in range(8):
                    await store.aput(("docs",), f"{n}", {"text": f"answer to {n}"})
                puts = [store.aput(("other",), f"{n}", {"text": f"{n}"}) for n in range(8)]
                searches = [store.asearch(("docs",), query=f"{n}", limit=1) for n in range(8)]
                found = await asyncio.gather(*(call for pair in zip(searches, puts, strict=True) for call in pair))
                assert [items[0].key for items in found if items] == [f"{n}" for n in range(8)], _ROLE
                assert sorted(embeddings.asked) == [f"{n}" for n in range(8)], _ROLE

        if self.has_async:
            asyncio.run(run())

    def test_a_search_meets_only_its_namespace(self) -> None:
        """Items of another namespace are not found, however near they are."""
        if self.has_sync:
            with self._opened() as (store, _):
                store.put(("users", "ann"), "mine", {"text": "something else"})
                store.put(("users", "bob"), "his", {"text": "answer to x"})
                assert [item.key for item in store.search(("users", "ann"), query="x")] == ["mine"]
                assert [item.key for item in store.search(("users",), query="x", limit=1)] == ["his"]

    def test_an_async_search_meets_only_its_namespace(self) -> None:
        """The same through `asearch`."""

        async def run() -> None:
            async with self._opened_async() as (store, _):
                await store.aput(("users", "ann"), "mine", {"text": "something else"})
                await store.aput(("users", "bob"), "his", {"text": "answer to x"})
                assert [item.key for item in await store.asearch(("users", "ann"), query="x")] == ["mine"]
                assert [item.key for item in await store.asearch(("users",), query="x", limit=1)] == ["his"]

        if self.has_async:
            asyncio.run(run())

    def test_only_the_named_fields_are_embedded(self) -> None:
        """The index names the field "text"; the rest of an item is kept and not embedded."""
        if self.has_sync:
            with self._opened() as (store, embeddings):
                store.put(("docs",), "a", {"text": "x", "note": "secret"})
                assert embeddings.written == ["x"], "the store embeds more than the field it was told to"

    def _opened(self) -> AbstractContextManager[tuple[BaseStore, TwoRoleEmbeddings]]:
        @contextmanager
        def opened() -> Iterator[tuple[BaseStore, TwoRoleEmbeddings]]:
            embeddings = TwoRoleEmbeddings()
            with self.open_store(_index(embeddings)) as store:
                yield store, embeddings

        return opened()

    def _opened_async(self) -> AbstractAsyncContextManager[tuple[BaseStore, TwoRoleEmbeddings]]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[tuple[BaseStore, TwoRoleEmbeddings]]:
            embeddings = TwoRoleEmbeddings()
            async with self.open_async_store(_index(embeddings)) as store:
                yield store, embeddings

        return opened()


_ROLE = "the store embeds search queries as documents"


def _index(embeddings: TwoRoleEmbeddings) -> dict[str, Any]:
    return {"dims": embeddings.dim, "embed": embeddings, "fields": ["text"], "text_fields": ["text"]}


def _mixed_batch() -> list[PutOp | SearchOp]:
    return [
        PutOp(("docs",), "x", {"text": "x"}),
        SearchOp(("docs",), query="x", limit=1),
        PutOp(("docs",), "later", {"text": "answer to new"}),
        SearchOp(("docs",), limit=1, filter={"text": "answer to x"}),
    ]


def _check_mixed(results: Iterable[Any], embeddings: TwoRoleEmbeddings) -> None:
    first, found, third, listed = results
    assert first is None
    assert third is None
    assert [item.key for item in found] == ["answer to x"], _ROLE
    assert [item.key for item in listed] == ["answer to x"]
    assert embeddings.asked == ["x"], _ROLE
    assert embeddings.written == ["answer to x", "x", "answer to new"]


def _check_found(found: list[SearchItem], embeddings: TwoRoleEmbeddings, *, asked: list[str]) -> None:
    assert embeddings.asked == asked, _ROLE
    assert embeddings.written == ["x", "answer to x"], "the store does not embed items as documents"
    assert [item.key for item in found] == ["answer to x", "x"], _ROLE
    assert found[0].score is not None
    assert abs(found[0].score - 1.0) < 1e-4, "the score is not the cosine of query and document"


def _direction(text: str) -> list[float]:
    chooser = random.Random(text)
    numbers = [chooser.gauss(0, 1) for _ in range(TwoRoleEmbeddings.dim)]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]
