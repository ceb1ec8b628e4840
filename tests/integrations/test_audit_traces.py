"""An audit disturbs nobody and leaves nothing behind, or says what it left."""

import asyncio
import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from integrations import aaudit_roles, audit_roles
from rag_embedder import KnowledgeRetriever
from rag_embedder.errors import ConfigError
from tests.integrations.audited import OneSided, OneSidedAsync, Plain, PlainIndexing, async_sqlite_store
from tests.retriever_cases import TEXTS, Watched, WordEncoder

WORDS = WordEncoder()


class NoDelete(InMemoryVectorStore):
    delete = VectorStore.delete


class FailingDelete(InMemoryVectorStore):
    def delete(self, ids=None, **options):
        raise OSError("the server has gone")


class Searching(BaseRetriever):
    search: object

    def _get_relevant_documents(self, query, *, run_manager):
        return self.search(query)


class HangingStore(InMemoryVectorStore):
    async def asimilarity_search(self, query, k=4, **options):
        await asyncio.Event().wait()


class Broken(Plain):
    def embed_query(self, text):
        raise RuntimeError("no licence\nfor this model")


class Slotted(Embeddings):
    __slots__ = ()

    def embed_query(self, text):
        return WORDS.encode_queries([text])[0].tolist()

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]


def methods_of(*classes):
    return [dict(vars(kind)) for kind in classes]


def test_classes_and_objects_are_afterwards_what_they_were():
    components = [Plain(WORDS), OneSidedAsync(WORDS), PlainIndexing(encoder=WORDS)]
    kinds = (Plain, OneSidedAsync, PlainIndexing, WordEncoder, Embeddings)
    classes, objects = methods_of(*kinds), [dict(vars(component)) for component in components]
    for component in components:
        audit_roles(component)
    assert methods_of(*kinds) == classes
    assert [dict(vars(component)) for component in components] == objects


def test_a_copy_made_meanwhile_is_a_copy_like_any_other():
    copies = []

    class CopiedInTheMiddle(PlainIndexing):
        def _get_query_embedding(self, query):
            copies.append(copy.copy(self))
            return super()._get_query_embedding(query)

    original = CopiedInTheMiddle(encoder=WORDS)
    assert audit_roles(original).is_safe
    assert copies
    assert all(set(vars(made)) == set(vars(original)) for made in copies)


def test_an_object_without_attributes_of_its_own_is_seen_too():
    (finding,) = audit_roles(Slotted()).findings
    assert "documents are encoded as queries" in finding


def test_a_method_set_on_the_object_itself_is_said_to_be_unseen():
    embeddings = Plain(WORDS)
    embeddings.embed_query = lambda text: [1.0] * WORDS.dim
    audit = audit_roles(InMemoryVectorStore(embeddings))
    assert audit.queries == "not seen"
    assert "(Plain cannot be watched)" in audit.findings[0]


def test_a_store_that_cannot_delete_is_not_written_to_unless_told():
    store = NoDelete(Plain(WORDS))
    audit = audit_roles(store)
    assert (audit.queries, audit.documents, audit.caches) == ("query", "not checked", "not checked")
    assert audit.is_safe
    assert audit.notes == (
        "documents were not checked: they could not be removed again: it has no delete(); write=True writes them all "
        "the same",
    )
    assert store.store == {}
    written = audit_roles(store, write=True)
    assert written.documents == "document"
    assert store.store
    assert all(id_.startswith("rag-embedder-audit-") for id_ in store.store)
    assert written.notes[0].startswith("documents of the audit stay, with ids that begin with rag-embedder-audit-")


def test_nothing_is_written_where_it_is_forbidden():
    added = []

    class Noting(InMemoryVectorStore):
        def add_documents(self, documents, ids=None, **options):
            added.append(ids)
            return super().add_documents(documents, ids, **options)

    audit = audit_roles(Noting(Plain(WORDS)), write=False)
    assert added == []
    assert audit.notes == ("documents were not checked: write=False",)
    assert audit_roles(Noting(Plain(WORDS))).documents == "document"
    assert added


def test_documents_that_could_not_be_removed_are_named():
    store = FailingDelete(Plain(WORDS))
    audit = audit_roles(store)
    (note,) = audit.notes
    assert note.endswith("OSError: the server has gone")
    assert all(id_.startswith(note.split()[10].rstrip(":")) for id_ in store.store)


def test_a_retriever_that_shows_no_store_is_checked_for_queries(embedder):
    store = InMemoryVectorStore(Plain(embedder))
    store.add_texts(list(TEXTS.values()))
    audit = audit_roles(Searching(search=store.similarity_search))
    assert (audit.queries, audit.documents, audit.is_safe) == ("query", "not checked", True)
    assert audit.notes == ("documents were not checked: it only reads, and shows no store to write to",)
    wrong = audit_roles(Searching(search=InMemoryVectorStore(OneSided(WORDS)).similarity_search))
    assert wrong.queries == "document"


def test_a_component_that_fails_is_reported_and_not_safe():
    audit = audit_roles(Broken(WORDS))
    assert audit.queries == "not checked"
    assert audit.findings == (
        "queries could not be checked: RuntimeError: no licence (sync, async); expected a component that works; repair "
        "it and audit it again.",
    )


def test_an_async_half_that_never_ends_is_given_up():
    began = time.monotonic()
    audit = audit_roles(HangingStore(Plain(WORDS)), timeout=0.2)
    assert time.monotonic() - began < 5
    assert audit.queries == "query"
    assert audit.notes[0].startswith("async methods were not checked to the end: they took more than 0.2 seconds.")


async def test_it_can_be_called_where_an_event_loop_is_running(embedder):
    assert audit_roles(InMemoryVectorStore(Plain(embedder))).is_safe
    assert audit_roles(OneSidedAsync(embedder)).queries == "both"


async def test_the_async_audit_leaves_the_event_loop_free():
    slow = Watched(WORDS)
    slow.seconds = 0.05
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticker = asyncio.create_task(tick())
    with KnowledgeRetriever(slow) as retriever:
        audit = await aaudit_roles(retriever)
    ticker.cancel()
    assert audit.is_safe
    assert ticks >= 20  # 16 calls of 50 ms; on a blocked loop there are none


async def test_an_async_audit_that_is_cancelled_removes_its_documents():
    slow = Watched(WORDS)
    slow.seconds = 0.05
    with KnowledgeRetriever(slow) as retriever:
        auditing = asyncio.create_task(aaudit_roles(retriever))
        while not len(retriever):  # its first document is there
            await asyncio.sleep(0.005)
        auditing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await auditing
        assert len(retriever) == 0
        seen = len(slow.documents)
        await asyncio.sleep(0.2)
        assert len(retriever) == 0
        assert len(slow.documents) == seen


@pytest.mark.parametrize("timeout", [0, -1, "1", True, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(ConfigError, match=r"timeout: got .* expected a positive number of seconds"):
        audit_roles(WORDS, timeout=timeout)


async def test_a_store_of_another_event_loop_is_audited_from_a_thread(embedder):
    async with async_sqlite_store(lambda store: store, {"dims": 32, "embed": Plain(embedder)}) as store:
        audit = await asyncio.to_thread(audit_roles, store)
        assert audit.queries == "document"
        assert len(audit.findings[0].partition(";")[0].split("through")) == 3  # on both paths
        assert await store.alist_namespaces() == []


def test_sixteen_audits_among_other_work_see_only_their_own():
    right, wrong = InMemoryVectorStore(Plain(WORDS)), InMemoryVectorStore(OneSided(WORDS))
    for store in (right, wrong):
        store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
    stop, found = threading.Event(), []

    def work():
        while not stop.is_set():
            found.append([hit.id for hit in right.similarity_search(TEXTS["cat"], k=1)])
            wrong.similarity_search("rain", k=1)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with ThreadPoolExecutor(16) as pool:
            audits = list(pool.map(audit_roles, [right, wrong] * 16))
    finally:
        stop.set()
        worker.join()
    assert [audit.queries for audit in audits] == ["query", "document"] * 16
    assert found
    assert {tuple(ids) for ids in found} == {("cat",)}
    assert sorted(right.store) == sorted(wrong.store) == sorted(TEXTS)


def test_an_audit_that_is_interrupted_removes_its_documents():
    class Interrupted(InMemoryVectorStore):
        def similarity_search(self, query, k=4, **options):
            raise KeyboardInterrupt

    store = Interrupted(Plain(WORDS))
    before = dict(vars(Plain))
    with pytest.raises(KeyboardInterrupt):
        audit_roles(store)
    assert store.store == {}
    assert dict(vars(Plain)) == before
