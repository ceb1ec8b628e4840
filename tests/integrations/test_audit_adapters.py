"""Every adapter of ours keeps the roles, and is left as it was."""

import pytest
from langchain_core.stores import InMemoryByteStore
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.store.memory import InMemoryStore
from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.objects import ObjectIndex
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.tools import FunctionTool

import integrations.langchain as for_langchain
import integrations.llama_index as for_llama_index
from integrations import audit_roles
from rag_embedder import (
    ConversationRetriever,
    DemonstrationRetriever,
    KnowledgeRetriever,
    MemoryRetriever,
    ToolRetriever,
)
from tests.retriever_cases import CASES, TEXTS, WordEncoder

NOT_AUDITED = {
    "VectorStoreIndexSettings": "settings; audited inside a retriever below",
    "make_retrieve_tools": "two functions over a ToolRetriever, which is audited",
    "role_aware": "makes store classes; audited below and in test_audit.py",
    "store_index": "makes settings",
    "EmbedTextOnly": "changes nodes, encodes nothing",
}


class WrongEncoder(WordEncoder):
    def encode_queries(self, texts, scenario="qa"):
        return self.encode_documents(texts, scenario)


def forecast(city: str) -> str:
    """Weather forecast for a city."""
    return city


def opened(kind, encoder, **options):
    """A retriever with six entries."""
    (case,) = [case for case in CASES if case.open is kind]
    retriever = kind(encoder, **options)
    case.add(retriever, TEXTS)
    return retriever


def registry(encoder):
    tools = ToolRetriever(encoder)
    tools.add([forecast])
    return tools


LANGCHAIN = {
    "RagEmbeddings": lambda e: for_langchain.RagEmbeddings(embedder=e),
    "RagEmbeddings, cached": lambda e: for_langchain.RagEmbeddings(embedder=e, cache=InMemoryByteStore()),
    "RagEmbeddings, in a store": lambda e: InMemoryVectorStore(for_langchain.RagEmbeddings(embedder=e)),
    "role_aware": lambda e: for_langchain.role_aware(InMemoryStore)(
        index={"dims": e.dim, "embed": for_langchain.RagEmbeddings(embedder=e, scenario="chat"), "fields": ["text"]}
    ),
    "RagRetriever, knowledge": lambda e: for_langchain.RagRetriever(retriever=opened(KnowledgeRetriever, e)),
    "RagRetriever, memory": lambda e: for_langchain.RagRetriever(retriever=opened(MemoryRetriever, e)),
    "RagRetriever, one user": lambda e: for_langchain.RagRetriever(retriever=opened(MemoryRetriever, e), user="ann"),
    "RagRetriever, demonstrations": lambda e: for_langchain.RagRetriever(retriever=opened(DemonstrationRetriever, e)),
    "RagRetriever, tools": lambda e: for_langchain.RagRetriever(retriever=opened(ToolRetriever, e)),
    "RagRetriever, conversation": lambda e: for_langchain.RagRetriever(retriever=opened(ConversationRetriever, e)),
    "RagRetriever, over a vector store": lambda e: for_langchain.RagRetriever(
        retriever=opened(
            KnowledgeRetriever, e, index=for_langchain.VectorStoreIndexSettings(InMemoryVectorStore, exact_up_to=0)
        )
    ),
    "ConversationalRagRetriever": lambda e: for_langchain.ConversationalRagRetriever(
        retriever=opened(ConversationRetriever, e)
    ),
    "RagExampleSelector": lambda e: for_langchain.RagExampleSelector.from_examples(
        [{"question": "2+2", "answer": "4"}], e, input_keys=["question"]
    ),
    "RagReranker": lambda e: for_langchain.RagReranker(embedder=e),
    "RagToolSelectorMiddleware": for_langchain.RagToolSelectorMiddleware,
    "RagToolSelectorMiddleware, registry": lambda e: for_langchain.RagToolSelectorMiddleware(registry=registry(e)),
    "RagMemoryMiddleware": lambda e: for_langchain.RagMemoryMiddleware(opened(MemoryRetriever, e)),
}

LLAMA_INDEX = {
    "RagEmbedding": lambda e: for_llama_index.RagEmbedding(embedder=e),
    "RagEmbedding, cached": lambda e: for_llama_index.RagEmbedding(embedder=e, embeddings_cache=SimpleKVStore()),
    "RagEmbedding, in an index": lambda e: VectorStoreIndex(
        [TextNode(text="the blue cat")], embed_model=for_llama_index.RagEmbedding(embedder=e)
    ),
    "RagRetriever, knowledge": lambda e: for_llama_index.RagRetriever(opened(KnowledgeRetriever, e)),
    "RagRetriever, memory": lambda e: for_llama_index.RagRetriever(opened(MemoryRetriever, e), user="ann"),
    "RagToolRetriever": lambda e: for_llama_index.RagToolRetriever([forecast], e),
    "RagMemoryBlock": lambda e: for_llama_index.RagMemoryBlock(memory=opened(MemoryRetriever, e), user="ann"),
    "RagMemoryBlock, by session": lambda e: for_llama_index.RagMemoryBlock(memory=opened(MemoryRetriever, e)),
    "RagReranker": lambda e: for_llama_index.RagReranker(scorer=e),
    "RagConversationRetriever": lambda e: for_llama_index.RagConversationRetriever(
        opened(ConversationRetriever, e), []
    ),
}

ADAPTERS = [pytest.param(make, id=f"langchain: {name}") for name, make in LANGCHAIN.items()]
ADAPTERS += [pytest.param(make, id=f"llama_index: {name}") for name, make in LLAMA_INDEX.items()]


def retriever_inside(component):
    for name in ("retriever", "registry", "_memory"):
        found = getattr(component, name, None)
        if hasattr(found, "__len__"):
            return found
    return None


@pytest.mark.parametrize("make", ADAPTERS)
def test_an_adapter_is_safe_and_stays_as_it_was(make, embedder):
    component = make(embedder)
    retriever = retriever_inside(component)
    before = None if retriever is None else len(retriever)
    audit = audit_roles(component)
    assert audit.findings == ()
    assert (audit.queries, audit.documents, audit.is_safe) == ("query", "document", True)
    assert audit.caches in ("none seen", "keep roles apart")
    if retriever is not None:
        assert len(retriever) == before > 0


@pytest.mark.parametrize("make", ADAPTERS)
def test_the_audit_of_an_adapter_sees_an_encoder_that_is_wrong(make):
    audit = audit_roles(make(WrongEncoder()))
    assert audit.queries == "document"
    assert not audit.is_safe
    assert "queries are encoded as documents" in audit.findings[0]


@pytest.mark.parametrize("package", [for_langchain, for_llama_index], ids=["langchain", "llama_index"])
def test_no_adapter_is_left_out(package):
    audited = {name.partition(",")[0] for name in (LANGCHAIN if package is for_langchain else LLAMA_INDEX)}
    assert set(dir(package)) - audited <= set(NOT_AUDITED)


def test_the_caches_of_adapters_keep_roles_apart_and_are_left_clean(embedder):
    bytes_, values = InMemoryByteStore(), SimpleKVStore()
    for_langchain.RagEmbeddings(embedder=embedder, cache=bytes_).embed_query("rain")
    for_llama_index.RagEmbedding(embedder=embedder, embeddings_cache=values).get_query_embedding("rain")
    kept = [*bytes_.yield_keys()], [*values.get_all(collection="embeddings")]
    audits = [
        audit_roles(for_langchain.RagEmbeddings(embedder=embedder, cache=bytes_)),
        audit_roles(for_llama_index.RagEmbedding(embedder=embedder, embeddings_cache=values)),
    ]
    assert [audit.caches for audit in audits] == ["keep roles apart", "keep roles apart"]
    assert ([*bytes_.yield_keys()], [*values.get_all(collection="embeddings")]) == kept
    assert [len(keys) for keys in kept] == [1, 1]


def test_a_pipeline_with_our_embedding_keeps_documents_on_their_side(embedder):
    audit = audit_roles(IngestionPipeline(transformations=[for_llama_index.RagEmbedding(embedder=embedder)]))
    assert (audit.documents, audit.is_safe) == ("document", True)


def test_a_reranker_that_reads_query_and_text_together_has_no_roles():
    class CrossEncoder:
        def score(self, pairs):
            return [0.0 for _ in pairs]

    for reranker in (
        for_langchain.RagReranker(scorer=CrossEncoder()),
        for_llama_index.RagReranker(scorer=CrossEncoder()),
    ):
        audit = audit_roles(reranker)
        assert (audit.queries, audit.documents, audit.findings) == ("not checked", "not checked", ())
        assert "CrossEncoder reads query and text together" in audit.notes[0]


def test_the_object_retriever_of_llama_index_is_only_asked(embedder):
    tools = [FunctionTool.from_defaults(forecast)]
    index = ObjectIndex.from_objects(tools, embed_model=for_llama_index.RagEmbedding(embedder=embedder))
    audit = audit_roles(index.as_retriever(similarity_top_k=1))
    assert (audit.queries, audit.documents, audit.is_safe) == ("query", "not checked", True)
    assert "objects cannot be removed from its index" in audit.notes[0]


def test_a_memory_that_only_reads_is_only_asked(embedder):
    memory = opened(MemoryRetriever, embedder)
    audit = audit_roles(for_langchain.RagMemoryMiddleware(memory, write=False))
    assert (audit.queries, audit.documents) == ("query", "not checked")
    assert "it was made with write=False" in audit.notes[0]
