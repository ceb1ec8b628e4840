"""`audit_roles` tells right components from wrong ones, whoever wrote them."""

import json

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.stores import InMemoryStore as KeyValues
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.store.memory import InMemoryStore
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from integrations import RoleAudit, aaudit_roles, audit_roles
from integrations.langchain import role_aware
from rag_embedder import KnowledgeRetriever
from rag_embedder.errors import ConfigError
from tests.integrations.audited import (
    Caching,
    OneSided,
    OneSidedAsync,
    OneSidedIndexing,
    Plain,
    PlainIndexing,
    TwoScenarios,
    async_sqlite_store,
    chroma_collection,
    sqlite_store,
)
from tests.retriever_cases import CASES, TEXTS, WordEncoder

WORDS = WordEncoder()
INDEX = {"dims": WORDS.dim, "fields": ["text"]}


class SwappingEncoder(WordEncoder):
    def encode_queries(self, texts, scenario="qa"):
        return self.encode_documents(texts, scenario)


def check_safe(audit):
    assert audit.findings == ()
    assert (audit.queries, audit.documents) == ("query", "document")
    assert audit.is_safe
    assert audit.raise_if_unsafe() is audit


def only_finding(audit):
    assert not audit.is_safe
    (finding,) = audit.findings
    return finding


# --- ours


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_our_retrievers_are_safe_and_stay_as_they_were(case, embedder):
    with case.open(embedder) as retriever:
        case.add(retriever, TEXTS)
        before = case.retrieve(retriever, "rain in oslo")
        audit = audit_roles(retriever)
        check_safe(audit)
        expected = {"knowledge": "qa", "conversation": "convsearch", "demonstrations": "icl", "tools": "tool"}
        assert audit.scenarios == ((expected[case.name],) if case.name in expected else ("chat", "lrlm"))
        assert len(retriever) == len(TEXTS)
        assert case.retrieve(retriever, "rain in oslo") == before


def test_an_encoder_is_audited_by_itself(embedder):
    check_safe(audit_roles(embedder))
    check_safe(audit_roles(WORDS))
    assert audit_roles(SwappingEncoder()).queries == "document"


def test_a_retriever_over_an_encoder_that_takes_queries_for_documents_is_unsafe():
    with KnowledgeRetriever(SwappingEncoder()) as retriever:
        audit = audit_roles(retriever)
    assert audit.queries == "document"
    assert "queries are encoded as documents (sync through SwappingEncoder.encode_queries, async" in only_finding(audit)


def test_a_retriever_that_encodes_no_queries_is_not_called_safe():
    with KnowledgeRetriever(WORDS, mode="lexical") as retriever:
        audit = audit_roles(retriever)
    assert (audit.queries, audit.documents) == ("not seen", "document")
    assert only_finding(audit).startswith("queries were not seen to be encoded (sync, async)")


# --- LangChain


@pytest.mark.parametrize("scenario", ["qa", "tool"])
def test_embeddings_that_keep_the_roles_are_safe(embedder, scenario):
    audit = audit_roles(Plain(embedder, scenario))
    check_safe(audit)
    assert audit.scenarios == (scenario,)
    assert audit.caches == "none seen"


def test_embeddings_that_embed_queries_as_documents_are_unsafe(embedder):
    audit = audit_roles(OneSided(embedder))
    assert (audit.queries, audit.documents) == ("document", "document")
    assert only_finding(audit) == (
        "queries are encoded as documents (sync through OneSided.embed_query, async through OneSided.aembed_query); "
        "expected the query side of the encoder. OneSided itself takes queries for documents; RagEmbeddings and "
        "RagEmbedding keep them apart."
    )


def test_embeddings_that_are_wrong_in_their_async_methods_only_are_unsafe(embedder):
    audit = audit_roles(OneSidedAsync(embedder))
    assert audit.queries == "both"
    assert "(async through OneSidedAsync.aembed_query)" in only_finding(audit)


def test_embeddings_of_two_scenarios_are_unsafe(embedder):
    audit = audit_roles(TwoScenarios(embedder))
    assert audit.scenarios == ("qa", "tool")
    assert only_finding(audit).startswith("queries are encoded for 'tool', documents for 'qa'; expected one scenario")


def test_a_model_that_gives_both_roles_one_vector_is_found_out():
    audit = audit_roles(DeterministicFakeEmbedding(size=8))
    assert (audit.queries, audit.documents) == ("query", "document")
    assert only_finding(audit).startswith("a text has the same vector as a query and as a document; expected two.")


@pytest.mark.parametrize("encoder", ["tiny", "words"])
def test_a_cache_that_mixes_roles_is_found_out_and_left_clean(encoder, embedder):
    encoder, store = embedder if encoder == "tiny" else WORDS, KeyValues()
    store.mset([("rain", json.dumps([1.0] * encoder.dim))])
    audit = audit_roles(Caching(Plain(encoder), store, store))
    assert audit.caches == "mix roles"
    assert (audit.queries, audit.documents) == ("both", "both")
    assert [finding.partition(" (")[0] for finding in audit.findings] == [
        "a cache answers queries with the vector of the same text as a document",
        "a cache answers documents with the vector of the same text as a query",
    ]
    assert list(store.yield_keys()) == ["rain"]


def test_a_cache_that_keeps_roles_apart_is_safe_and_left_clean(embedder):
    documents, queries = KeyValues(), KeyValues()
    audit = audit_roles(Caching(Plain(embedder), documents, queries))
    check_safe(audit)
    assert audit.caches == "keep roles apart"
    assert [*documents.yield_keys(), *queries.yield_keys()] == []


@pytest.mark.parametrize("view", [lambda store: store, lambda store: store.as_retriever(search_kwargs={"k": 1})])
def test_a_vector_store_and_its_retriever_are_as_safe_as_their_embeddings(embedder, view):
    store = InMemoryVectorStore(Plain(embedder))
    store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
    check_safe(audit_roles(view(store)))
    assert sorted(store.store) == sorted(TEXTS)
    wrong = audit_roles(view(InMemoryVectorStore(OneSided(embedder))))
    assert wrong.queries == "document"
    assert "OneSided itself takes queries for documents" in only_finding(wrong)


def test_chroma_through_langchain_is_safe_and_left_clean(embedder):
    from langchain_chroma import Chroma

    with chroma_collection() as (client, collection):
        store = Chroma(collection.name, Plain(embedder), client=client)
        store.add_texts(["the blue cat"], ids=["cat"])
        check_safe(audit_roles(store))
        check_safe(audit_roles(store.as_retriever()))
        assert store.get()["ids"] == ["cat"]


# --- LangGraph


def test_the_in_memory_store_is_safe_and_lists_no_namespace_of_the_audit(embedder):
    store = InMemoryStore(index={**INDEX, "embed": Plain(embedder)})
    store.put(("notes",), "cat", {"text": "the blue cat"})
    check_safe(audit_roles(store))
    assert store.list_namespaces() == [("notes",)]
    assert [item.key for item in store.search(())] == ["cat"]


def test_a_store_with_a_function_as_its_encoder_is_unsafe(embedder):
    def embed(texts):
        return embedder.encode_documents(list(texts)).tolist()

    audit = audit_roles(InMemoryStore(index={**INDEX, "embed": embed}))
    assert audit.queries == "document"
    assert "index['embed'] is a function, which cannot tell them apart" in only_finding(audit)


def test_a_store_without_an_index_has_nothing_to_check():
    audit = audit_roles(InMemoryStore())
    assert (audit.queries, audit.documents) == ("not checked", "not checked")
    assert not audit.is_safe
    assert audit.notes[0] == "queries were not checked: the store has no index, so it embeds nothing"


@pytest.mark.parametrize("encoder", ["tiny", "words"])
def test_the_sqlite_store_is_unsafe_and_role_aware_makes_it_safe(encoder, embedder):
    embeddings = Plain(embedder if encoder == "tiny" else WORDS)
    with sqlite_store(lambda store: store, {"dims": 32 if encoder == "tiny" else 48, "embed": embeddings}) as store:
        store.put(("notes",), "cat", {"text": "the blue cat"}, index=["text"])
        audit = audit_roles(store)
        assert store.list_namespaces() == [("notes",)]
    assert (audit.queries, audit.documents) == ("document", "document")
    assert "sync through Plain.embed_documents" in only_finding(audit)
    assert audit.findings[0].endswith("Wrap the class: role_aware(SqliteStore).")
    with sqlite_store(role_aware, {"dims": 32 if encoder == "tiny" else 48, "embed": embeddings}) as store:
        check_safe(audit_roles(store))


async def test_the_async_sqlite_store_is_audited_on_the_loop_it_belongs_to(embedder):
    index = {"dims": 32, "embed": Plain(embedder)}
    async with async_sqlite_store(lambda store: store, index) as store:
        with pytest.raises(ConfigError, match=r"await aaudit_roles\(component\)"):
            audit_roles(store)
        audit = await aaudit_roles(store)
        assert audit.queries == "document"
        assert "async through Plain.aembed_documents" in only_finding(audit)
        assert await store.alist_namespaces() == []
    async with async_sqlite_store(role_aware, index) as store:
        check_safe(await aaudit_roles(store))


# --- LlamaIndex


def test_an_embed_model_that_keeps_the_roles_is_safe(embedder):
    check_safe(audit_roles(PlainIndexing(encoder=embedder)))
    check_safe(audit_roles(PlainIndexing(encoder=WORDS)))


def test_an_embed_model_that_is_wrong_in_its_async_methods_only_is_unsafe(embedder):
    audit = audit_roles(OneSidedIndexing(encoder=embedder))
    assert audit.queries == "both"
    assert "(async through OneSidedIndexing.aget_query_embedding)" in only_finding(audit)


@pytest.mark.parametrize("encoder", ["tiny", "words"])
def test_the_embeddings_cache_of_llama_index_mixes_roles(encoder, embedder):
    cache = SimpleKVStore()
    cache.put("rain", {"1": [1.0]}, collection="embeddings")
    model = PlainIndexing(encoder=embedder if encoder == "tiny" else WORDS, embeddings_cache=cache)
    audit = audit_roles(model)
    assert audit.caches == "mix roles"
    assert len(audit.findings) == 2
    assert "Leave embeddings_cache out, or use RagEmbedding(embeddings_cache=...)" in audit.findings[0]
    assert list(cache.get_all(collection="embeddings")) == ["rain"]


def test_an_index_and_its_retriever_are_as_safe_as_their_embed_model(embedder):
    index = VectorStoreIndex([TextNode(text="the blue cat", id_="cat")], embed_model=PlainIndexing(encoder=embedder))
    check_safe(audit_roles(index))
    check_safe(audit_roles(index.as_retriever()))
    assert list(index.docstore.docs) == ["cat"]
    assert list(index.vector_store.to_dict()["embedding_dict"]) == ["cat"]
    assert list(index.index_struct.nodes_dict) == ["cat"]
    wrong = VectorStoreIndex([], embed_model=OneSidedIndexing(encoder=embedder))
    assert "OneSidedIndexing itself takes queries for documents" in only_finding(audit_roles(wrong))


def test_chroma_through_llama_index_is_safe_and_left_clean(embedder):
    from llama_index.vector_stores.chroma import ChromaVectorStore

    with chroma_collection() as (_, collection):
        context = StorageContext.from_defaults(vector_store=ChromaVectorStore(collection))
        nodes = [TextNode(text="the blue cat", id_="cat")]
        index = VectorStoreIndex(nodes, storage_context=context, embed_model=PlainIndexing(encoder=embedder))
        check_safe(audit_roles(index))
        assert collection.get()["ids"] == ["cat"]


def test_a_pipeline_is_audited_for_documents_and_runs_nothing_else(embedder):
    class Expensive(SentenceSplitter):
        def __call__(self, nodes, **options):
            raise AssertionError("not part of the audit")

    pipeline = IngestionPipeline(transformations=[Expensive(), PlainIndexing(encoder=embedder)])
    audit = audit_roles(pipeline)
    assert (audit.queries, audit.documents, audit.caches) == ("not checked", "document", "not checked")
    assert audit.is_safe
    assert audit.notes == ("queries were not checked: a pipeline takes in documents only",)
    assert pipeline.cache.cache.get_all(collection=pipeline.cache.collection) == {}


def test_a_pipeline_that_embeds_nothing_is_not_called_safe():
    assert not audit_roles(IngestionPipeline(transformations=[SentenceSplitter()])).is_safe


# --- the record


def test_what_cannot_be_audited_is_refused_with_what_can():
    with pytest.raises(ConfigError, match=r"got dict; expected an object of one of: Embedder.*LangGraph BaseStore"):
        audit_roles({})
    with pytest.raises(ConfigError, match="got the class InMemoryStore"):
        audit_roles(InMemoryStore)


def test_what_is_made_of_parts_is_refused_with_the_parts_to_audit(embedder):
    retriever = InMemoryVectorStore(Plain(embedder)).as_retriever()
    chains = [
        retriever | str,
        {"context": retriever | str, "question": RunnablePassthrough()} | RunnableLambda(str),
        retriever.with_retry(),
        RunnableLambda(lambda question: retriever.invoke(question)[:1]),
    ]
    for chain in chains:
        with pytest.raises(ConfigError, match=rf"got {type(chain).__name__}.*Found in it: VectorStoreRetriever\. Call"):
            audit_roles(chain)
    with pytest.raises(ConfigError, match=r"got list.*Found in it: VectorStoreRetriever, Plain\."):
        audit_roles([retriever, Plain(embedder)])
    with pytest.raises(ConfigError, match="got RunnableSequence; expected an object of one of"):
        audit_roles(RunnableLambda(str) | str)
    check_safe(audit_roles((retriever | str).first))


def test_an_audit_is_readable_by_people_and_programs(embedder):
    audit = audit_roles(OneSided(embedder))
    assert str(audit).startswith("OneSided (LangChain embeddings): NOT SAFE\n  queries are encoded as: document\n")
    read = json.loads(audit.to_json())
    assert read["is_safe"] is False
    assert read["findings"] == list(audit.findings)
    with pytest.raises(ConfigError, match=r"NOT SAFE(.|\n)*finding: queries are encoded as documents"):
        audit.raise_if_unsafe()
    with pytest.raises(AttributeError):
        audit.queries = "query"


def test_an_audit_that_saw_nothing_is_not_safe():
    nothing = RoleAudit(component="X", kind="y", queries="not checked", documents="not checked", caches="not checked")
    assert not nothing.is_safe
