"""LangGraph stores: queries reach the query side, whichever method of the model the store calls."""

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager

import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from integrations.conformance.langgraph_store import StoreRoleConformance, TwoRoleEmbeddings
from integrations.langchain import RagEmbeddings, role_aware, store_index
from rag_embedder.errors import ConfigError, VectorError
from tests.retriever_cases import Watched, WordEncoder


@contextmanager
def sqlite(store_class, index):
    driver = pytest.importorskip("pysqlite3.dbapi2", reason="this Python's sqlite3 loads no extensions")
    connection = driver.connect(":memory:", check_same_thread=False, isolation_level=None)
    try:
        yield store_class(connection, index=index)
    finally:
        connection.close()


@asynccontextmanager
async def async_sqlite(store_class, index):
    driver = pytest.importorskip("pysqlite3.dbapi2", reason="this Python's sqlite3 loads no extensions")
    import aiosqlite

    async with aiosqlite.Connection(lambda: driver.connect(":memory:", isolation_level=None), 64) as connection:
        store = store_class(connection, index=index)
        yield store
        store._task.cancel()


def sqlite_store():
    return pytest.importorskip("langgraph.store.sqlite").SqliteStore


def async_sqlite_store():
    return pytest.importorskip("langgraph.store.sqlite.aio").AsyncSqliteStore


class OnInMemoryStore(StoreRoleConformance):
    @contextmanager
    def open_store(self, index):
        yield InMemoryStore(index=index)


class OnSqliteStore(StoreRoleConformance):
    has_async = False
    make = staticmethod(lambda store_class: store_class)

    @contextmanager
    def open_store(self, index):
        with sqlite(self.make(sqlite_store()), index) as store:
            yield store


class OnAsyncSqliteStore(StoreRoleConformance):
    has_sync = False
    make = staticmethod(lambda store_class: store_class)

    @asynccontextmanager
    async def open_async_store(self, index):
        async with async_sqlite(self.make(async_sqlite_store()), index) as store:
            yield store


class TestInMemoryStore(OnInMemoryStore):
    pass


class TestRoleAwareInMemoryStore(StoreRoleConformance):
    @contextmanager
    def open_store(self, index):
        yield role_aware(InMemoryStore)(index=index)


class TestRoleAwareSqliteStore(OnSqliteStore):
    make = staticmethod(role_aware)


class TestRoleAwareAsyncSqliteStore(OnAsyncSqliteStore):
    make = staticmethod(role_aware)


@pytest.mark.parametrize(
    ("suite", "test"),
    [
        (OnSqliteStore, "test_searches_reach_the_query_side"),
        (OnSqliteStore, "test_a_mixed_batch_keeps_roles_and_order"),
        (OnAsyncSqliteStore, "test_async_searches_reach_the_query_side"),
        (OnAsyncSqliteStore, "test_an_async_mixed_batch_keeps_roles_and_order"),
        (OnAsyncSqliteStore, "test_async_calls_of_one_moment_keep_their_roles"),
    ],
)
def test_the_suite_fails_on_the_stores_that_lose_the_role(suite, test):
    with pytest.raises(AssertionError, match="embeds search queries as documents"):
        getattr(suite(), test)()


def test_the_suite_fails_on_a_store_that_embeds_the_whole_item():
    class Careless(OnInMemoryStore):
        @contextmanager
        def open_store(self, index):
            yield InMemoryStore(index={"dims": index["dims"], "embed": index["embed"]})

    with pytest.raises(AssertionError, match="more than the field"):
        Careless().test_only_the_named_fields_are_embedded()


def test_the_suite_fails_on_a_store_that_mixes_namespaces():
    class Leaky(InMemoryStore):
        def batch(self, ops):
            return super().batch([op._replace(namespace_prefix=()) if isinstance(op, SearchOp) else op for op in ops])

    class OnLeaky(OnInMemoryStore):
        @contextmanager
        def open_store(self, index):
            yield Leaky(index=index)

    with pytest.raises(AssertionError):
        OnLeaky().test_a_search_meets_only_its_namespace()


def test_with_our_embeddings_the_scenario_decides_both_sides():
    encoder = WordEncoder()
    expected = encoder.encode_queries(["blue cat"], "chat") @ encoder.encode_documents(["the blue cat"], "chat").T
    wrong = encoder.encode_documents(["blue cat"], "chat") @ encoder.encode_documents(["the blue cat"], "chat").T
    index = store_index(RagEmbeddings(embedder=encoder, scenario="chat"), fields=["text"])
    scores = {}
    for store_class in (sqlite_store(), role_aware(sqlite_store())):
        with sqlite(store_class, index) as store:
            store.put(("docs",), "a", {"text": "the blue cat"})
            scores[store_class] = store.search(("docs",), query="blue cat")[0].score
    assert list(scores.values()) == pytest.approx([float(wrong[0, 0]), float(expected[0, 0])], abs=1e-5)
    assert abs(float(wrong[0, 0]) - float(expected[0, 0])) > 1e-3


def test_a_search_with_a_real_encoder_scores_as_the_encoder_does(embedder):
    index = store_index(RagEmbeddings(embedder=embedder, scenario="chat"), fields=["text"])
    with sqlite(role_aware(sqlite_store()), index) as store:
        store.put(("docs",), "a", {"text": "the blue cat"})
        (found,) = store.search(("docs",), query="a cat")
    expected = embedder.encode_queries(["a cat"], "chat") @ embedder.encode_documents(["the blue cat"], "chat").T
    assert found.score == pytest.approx(float(expected[0, 0]), abs=1e-4)


def test_the_database_store_ignores_fields_and_ours_heeds_them():
    for store_class, written in ((sqlite_store(), ['{"note": "n", "text": "x"}']), (role_aware(sqlite_store()), ["x"])):
        embeddings = TwoRoleEmbeddings()
        with sqlite(store_class, {"dims": 32, "embed": embeddings, "fields": ["text"]}) as store:
            store.put(("docs",), "a", {"text": "x", "note": "n"})
        assert embeddings.written == written


def test_one_batch_may_hold_one_text_twice():
    puts = [PutOp(("docs",), key, {"text": "same", "title": "same"}) for key in ("a", "b")]
    puts.append(PutOp(("docs",), "c", {"text": "other", "title": "same"}))
    index = {"dims": 32, "embed": TwoRoleEmbeddings(), "fields": ["text", "title"]}
    with pytest.raises(ValueError, match="does not match number of indices"):
        InMemoryStore(index=index).batch(puts)
    store = role_aware(InMemoryStore)(index=index)
    store.batch(puts)
    found = store.search(("docs",), query="x")
    assert sorted(item.key for item in found) == ["a", "b", "c"]
    vectors = store._vectors["docs",]
    assert {key: sorted(paths) for key, paths in vectors.items()} == {key: ["text", "title"] for key in "abc"}
    same, other = TwoRoleEmbeddings().embed_documents(["same", "other"])
    assert vectors["a"]["title"] == vectors["b"]["text"] == vectors["c"]["title"] == same
    assert vectors["c"]["text"] == other


async def test_one_async_batch_may_hold_one_text_twice():
    store = role_aware(InMemoryStore)(index={"dims": 32, "embed": TwoRoleEmbeddings(), "fields": ["text"]})
    await store.abatch([PutOp(("docs",), key, {"text": "answer to x"}) for key in ("a", "b")])
    assert [item.score for item in await store.asearch(("docs",), query="x")] == pytest.approx([1.0, 1.0])


def test_dims_that_are_not_the_models_are_refused():
    index = {"dims": 999, "embed": TwoRoleEmbeddings(), "fields": ["text"]}
    InMemoryStore(index=index).put(("docs",), "a", {"text": "x"})
    store = role_aware(InMemoryStore)(index=index)
    with pytest.raises(VectorError, match=r"length 32; expected 999.*store_index"):
        store.put(("docs",), "a", {"text": "x"})
    assert store.get(("docs",), "a") is None


def test_a_model_that_loses_a_vector_is_noticed():
    class Lossy(TwoRoleEmbeddings):
        def embed_documents(self, texts):
            return super().embed_documents(texts)[:-1]

    store = role_aware(InMemoryStore)(index=store_index(Lossy(), fields=["text"]))
    with pytest.raises(VectorError, match="0 vectors for 1 texts"):
        store.put(("docs",), "a", {"text": "x"})


def test_a_store_index_names_dims_and_fields_for_every_store():
    embeddings = RagEmbeddings(embedder=WordEncoder(), scenario="chat")
    assert store_index(embeddings, fields=["text"]) == {
        "dims": 48,
        "embed": embeddings,
        "fields": ["text"],
        "text_fields": ["text"],
    }

    class OnlyStandard(Embeddings):
        def embed_documents(self, texts):
            return [[0.5, 0.5, 0.1] for _ in texts]

        def embed_query(self, text):
            return [0.5, 0.5, 0.1]

    assert store_index(OnlyStandard(), fields=("a", "b"))["dims"] == 3


@pytest.mark.parametrize("fields", ["text", [], None, [""], [3]])
def test_a_store_index_without_names_of_fields_is_refused(fields):
    with pytest.raises(ConfigError, match=r"fields: got .*; expected a list of field names"):
        store_index(TwoRoleEmbeddings(), fields=fields)


def test_what_cannot_keep_a_role_is_refused():
    def embed(texts):
        return [[1.0] * 32 for _ in texts]

    with pytest.raises(ConfigError, match=r"index\['embed'\]: got function; expected a LangChain Embeddings"):
        role_aware(InMemoryStore)(index={"dims": 32, "embed": embed})
    with pytest.raises(ConfigError, match="embeddings: got function"):
        store_index(embed, fields=["text"])
    for not_a_store in (dict, InMemoryStore(), None):
        with pytest.raises(ConfigError, match="expected a subclass of"):
            role_aware(not_a_store)

    class KeyValueOnly(InMemoryStore):
        def __init__(self):
            super().__init__()

    with pytest.raises(ConfigError, match="has no option `index`"):
        role_aware(KeyValueOnly)


def test_the_class_stays_the_stores_own():
    made = role_aware(InMemoryStore)
    assert role_aware(InMemoryStore) is made
    assert role_aware(made) is made
    assert issubclass(made, InMemoryStore)
    assert made.__name__ == "RoleAwareInMemoryStore"
    assert made.__doc__ == InMemoryStore.__doc__
    store = made()
    store.put(("docs",), "a", {"text": "x"})
    assert store.get(("docs",), "a").value == {"text": "x"}
    with pytest.raises(TypeError, match="indx"):
        made(indx={})


def test_the_configuration_given_is_not_changed():
    embeddings = TwoRoleEmbeddings()
    index = {"dims": 32, "embed": embeddings, "fields": ["text"]}
    before = dict(index)
    for _ in range(2):
        store = role_aware(InMemoryStore)(index=index)
        store.put(("docs",), "a", {"text": "answer to x"})
        assert store.search(("docs",), query="x")[0].score == pytest.approx(1.0)
    assert index == before
    assert embeddings.asked == ["x", "x"]


def test_from_conn_string_makes_a_role_aware_store():
    made = role_aware(sqlite_store())
    with made.from_conn_string(":memory:") as store:
        assert isinstance(store, made)
        store.put(("docs",), "a", {"text": "x"})
        assert [item.key for item in store.search(("docs",))] == ["a"]


def test_searches_without_words_need_no_model():
    embeddings = TwoRoleEmbeddings()
    store = role_aware(InMemoryStore)(index=store_index(embeddings, fields=["text"]))
    assert store.batch([]) == []
    store.put(("docs",), "a", {"text": "x"}, index=False)
    assert [item.key for item in store.search(("docs",), query="")] == ["a"]
    assert store.list_namespaces() == [("docs",)]
    assert (embeddings.asked, embeddings.written) == ([], [])


def test_the_models_text_is_a_plain_str():
    class Strict(TwoRoleEmbeddings):
        def embed_query(self, text):
            assert type(text) is str
            return super().embed_query(text)

    with sqlite(role_aware(sqlite_store()), store_index(Strict(), fields=["text"])) as store:
        store.put(("docs",), "a", {"text": "answer to x"})
        assert store.search(("docs",), query="x")[0].score == pytest.approx(1.0, abs=1e-5)


def test_postgres_stores_are_made_by_inheritance():
    postgres = pytest.importorskip("langgraph.store.postgres")
    for store_class in (postgres.PostgresStore, postgres.AsyncPostgresStore):
        made = role_aware(store_class)
        assert issubclass(made, store_class)
        assert made.batch is not store_class.batch


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_async_searches_leave_the_loop_free(kind):
    watched = Watched(WordEncoder())
    index = store_index(RagEmbeddings(embedder=watched, scenario="chat"), fields=["text"])
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    @asynccontextmanager
    async def opened():
        if kind == "memory":
            yield role_aware(InMemoryStore)(index=index)
        else:
            async with async_sqlite(role_aware(async_sqlite_store()), index) as store:
                yield store

    async with opened() as store:
        await store.aput(("docs",), "a", {"text": "the cat"})
        watched.seconds = 0.3
        ticker = asyncio.create_task(tick())
        await store.asearch(("docs",), query="cat")
        await store.aput(("docs",), "b", {"text": "the dog"})
        ticker.cancel()
    assert ticks >= 15
    assert watched.queries == ["cat"]


def test_sixteen_threads_keep_their_roles():
    embeddings = TwoRoleEmbeddings()
    failures = []
    with sqlite(role_aware(sqlite_store()), store_index(embeddings, fields=["text"])) as store:

        def work(thread):
            try:
                for n in range(8):
                    text = f"{thread}-{n}"
                    store.put(("docs",), text, {"text": f"answer to {text}"})
                    (found,) = store.search(("docs",), query=text, limit=1)
                    assert found.key == text
            except Exception as fault:  # noqa: BLE001  (shown below)
                failures.append(fault)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(embeddings.asked) == len(embeddings.written) == 128


def test_a_store_of_another_maker_is_served_too():
    """Any store that embeds with what `index` holds; this one embeds everything in one call."""

    class OneCall(BaseStore):
        def __init__(self, *, index):
            self.embed = index["embed"]
            self.items = []

        def batch(self, ops):
            ops = list(ops)
            texts = [op.value["text"] if isinstance(op, PutOp) else op.query for op in ops]
            vectors = self.embed.embed_documents(texts)
            self.items += [(op.key, v) for op, v in zip(ops, vectors, strict=True) if isinstance(op, PutOp)]
            return [
                max(self.items, key=lambda item: sum(a * b for a, b in zip(item[1], vector, strict=True)))[0]
                if isinstance(op, SearchOp)
                else None
                for op, vector in zip(ops, vectors, strict=True)
            ]

        async def abatch(self, ops):
            return self.batch(ops)

    ops = [
        PutOp(("d",), "x", {"text": "x"}),
        SearchOp(("d",), query="x"),
        PutOp(("d",), "right", {"text": "answer to x"}),
    ]
    index = {"embed": TwoRoleEmbeddings()}
    assert OneCall(index=index).batch(ops) == [None, "x", None]
    assert role_aware(OneCall)(index=index).batch(ops) == [None, "right", None]
