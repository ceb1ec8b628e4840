"""Components to audit: right ones, and ones that are wrong in one way each."""

import json
import uuid
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from llama_index.core.base.embeddings.base import BaseEmbedding


class Plain(Embeddings):
    """An encoder for LangChain, as anybody would write it."""

    def __init__(self, encoder, scenario="qa"):
        self.encoder, self.scenario = encoder, scenario

    def embed_query(self, text):
        return self.encoder.encode_queries([text], self.scenario)[0].tolist()

    def embed_documents(self, texts):
        return self.encoder.encode_documents(list(texts), self.scenario).tolist()


class OneSided(Plain):
    def embed_query(self, text):
        return self.embed_documents([text])[0]


class OneSidedAsync(Plain):
    async def aembed_query(self, text):
        return (await self.aembed_documents([text]))[0]


class TwoScenarios(Plain):
    def embed_query(self, text):
        return self.encoder.encode_queries([text], "tool")[0].tolist()


class Caching(Embeddings):
    """What LangChain's `CacheBackedEmbeddings` does: the key of a vector is its text."""

    def __init__(self, underlying, documents, queries):
        self.underlying, self.documents, self.queries = underlying, documents, queries

    def embed_documents(self, texts):
        known = [self.documents.mget([text])[0] for text in texts]
        missing = [text for text, vector in zip(texts, known, strict=True) if vector is None]
        fresh = iter(self.underlying.embed_documents(missing) if missing else [])
        vectors = [json.loads(vector) if vector is not None else next(fresh) for vector in known]
        self.documents.mset([(text, json.dumps(vector)) for text, vector in zip(texts, vectors, strict=True)])
        return vectors

    def embed_query(self, text):
        (known,) = self.queries.mget([text])
        if known is not None:
            return json.loads(known)
        vector = self.underlying.embed_query(text)
        self.queries.mset([(text, json.dumps(vector))])
        return vector


class PlainIndexing(BaseEmbedding):
    """An encoder for LlamaIndex, as anybody would write it."""

    encoder: Any = None

    def _get_query_embedding(self, query):
        return self.encoder.encode_queries([query])[0].tolist()

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text):
        return self.encoder.encode_documents([text])[0].tolist()


class OneSidedIndexing(PlainIndexing):
    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)


@contextmanager
def sqlite_store(make, index):
    """LangGraph's `SqliteStore`, or what `make` makes of the class, in memory."""
    driver = pytest.importorskip("pysqlite3.dbapi2", reason="this Python's sqlite3 loads no extensions")
    store_class = pytest.importorskip("langgraph.store.sqlite").SqliteStore
    connection = driver.connect(":memory:", check_same_thread=False, isolation_level=None)
    try:
        store = make(store_class)(connection, index=index)
        store.setup()
        yield store
    finally:
        connection.close()


@asynccontextmanager
async def async_sqlite_store(make, index):
    driver = pytest.importorskip("pysqlite3.dbapi2", reason="this Python's sqlite3 loads no extensions")
    store_class = pytest.importorskip("langgraph.store.sqlite.aio").AsyncSqliteStore
    import aiosqlite

    async with aiosqlite.Connection(lambda: driver.connect(":memory:", isolation_level=None), 64) as connection:
        store = make(store_class)(connection, index=index)
        await store.setup()
        yield store
        store._task.cancel()


@contextmanager
def chroma_collection():
    """A client with an empty collection of its own."""
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.EphemeralClient(settings=chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection(f"audited-{uuid.uuid4().hex}")
    try:
        yield client, collection
    finally:
        client.delete_collection(collection.name)
