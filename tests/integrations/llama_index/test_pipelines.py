"""RagEmbedding inside LlamaIndex: indexes, storage, ingestion, and an index that is opened with another model."""

import pytest
from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore
from pydantic import PrivateAttr

from integrations.conformance.loop_ticks import count_ticks
from integrations.llama_index.embedding import RagEmbedding
from integrations.llama_index.nodes import EmbedTextOnly
from rag_embedder import Embedder
from rag_embedder.errors import ModelMismatchError
from tests.retriever_cases import TEXTS, Watched, WordEncoder


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def embedding(watched):
    return RagEmbedding(embedder=watched, embed_batch_size=4)


def documents():
    return [Document(text=text, doc_id=id_, metadata={"file": f"{id_}.txt"}) for id_, text in TEXTS.items()]


def nodes():
    return [TextNode(text=text, id_=id_) for id_, text in TEXTS.items()]


def found(index, query, **options):
    hits = index.as_retriever(similarity_top_k=3, **options).retrieve(query)
    return [(hit.node.ref_doc_id or hit.node.node_id, round(hit.score, 5)) for hit in hits]


# --- indexes


def test_an_index_of_documents_encodes_each_side_as_what_it_is(watched, embedding):
    index = VectorStoreIndex.from_documents(
        documents(), embed_model=embedding, transformations=[SentenceSplitter(), EmbedTextOnly()]
    )
    assert sorted(watched.documents) == sorted(TEXTS.values())
    assert watched.queries == []
    assert found(index, TEXTS["cat"])[0][0] == "cat"
    assert watched.queries == [TEXTS["cat"]]
    cosine = float(watched.encode_queries([TEXTS["cat"]])[0] @ watched.encode_documents([TEXTS["cat"]])[0])
    assert found(index, TEXTS["cat"])[0][1] == pytest.approx(cosine, abs=1e-4)


async def test_an_async_index_is_the_same_and_asking_it_leaves_the_loop_free(watched, embedding):
    blocking = VectorStoreIndex(nodes(), embed_model=embedding)
    index = VectorStoreIndex([], embed_model=embedding)
    await index.ainsert_nodes(nodes())
    assert found(index, TEXTS["rain"]) == found(blocking, TEXTS["rain"])
    watched.seconds = 0.3
    hits, ticks = await count_ticks(index.as_retriever().aretrieve(TEXTS["rain"]))
    assert hits[0].node.node_id == "rain"
    assert ticks >= 5


def test_the_settings_give_an_index_its_embed_model(embedding):
    before = Settings._embed_model
    try:
        Settings.embed_model = embedding
        assert found(VectorStoreIndex(nodes()), TEXTS["cat"])[0][0] == "cat"
    finally:
        Settings._embed_model = before


# --- storage


def persisted(embedding, folder):
    context = StorageContext.from_defaults()
    index = VectorStoreIndex(nodes(), embed_model=embedding, storage_context=context)
    context.persist(folder)
    return index


def reopened(embedding, folder):
    return load_index_from_storage(StorageContext.from_defaults(persist_dir=str(folder)), embed_model=embedding)


def test_an_index_that_was_persisted_finds_the_same_with_nothing_encoded_again(watched, embedding, tmp_path):
    before = found(persisted(embedding, tmp_path), TEXTS["cat"])
    watched.documents.clear()
    again = reopened(RagEmbedding.from_dict(embedding.to_dict(), embedder=watched), tmp_path)
    assert found(again, TEXTS["cat"]) == before
    assert watched.documents == []
    embedding.check_index(again)


@pytest.mark.parametrize(
    ("encoder", "scenario"),
    [(WordEncoder("other weights", name="other"), "qa"), (WordEncoder(), "tool")],
    ids=["another model", "another scenario"],
)
def test_llama_index_takes_a_model_of_the_same_length_silently_and_our_check_does_not(
    embedding, tmp_path, encoder, scenario
):
    persisted(embedding, tmp_path)
    other = RagEmbedding(embedder=encoder, scenario=scenario)
    index = reopened(other, tmp_path)
    assert len(found(index, TEXTS["cat"])) == 3  # the trap: answers, of vectors that mean nothing to each other
    with pytest.raises(
        ModelMismatchError, match=r"encoded again, is similar to what is stored by 0\.\d+, not 1.*build it again"
    ):
        other.check_index(index)
    embedding.check_index(reopened(embedding, tmp_path))


def test_a_model_of_another_length_and_swapped_roles_are_found_out_too(embedding, embedder):
    index = VectorStoreIndex(nodes(), embed_model=embedding)
    with pytest.raises(ModelMismatchError, match="store refused a vector of length 32"):
        RagEmbedding(embedder=embedder).check_index(index)
    as_queries = [TextNode(text=text, embedding=embedding.get_query_embedding(text)) for text in TEXTS.values()]
    with pytest.raises(ModelMismatchError):
        embedding.check_index(VectorStoreIndex(as_queries, embed_model=embedding))


def test_an_empty_index_passes_the_check(embedding):
    embedding.check_index(VectorStoreIndex([], embed_model=embedding))


def test_the_check_tells_instructions_apart_with_a_real_model():
    instructed = Embedder.load(device="cpu", instructions="llm-embedder")
    plain = Embedder.load(device="cpu", instructions="none")
    texts = [TextNode(text=text) for text in ("Oslo is the capital of Norway.", "Bread is baked of flour. " * 40)]
    for text in texts:
        index = VectorStoreIndex([text], embed_model=RagEmbedding(embedder=instructed))
        RagEmbedding(embedder=instructed).check_index(index)
        for other in (RagEmbedding(embedder=plain), RagEmbedding(embedder=instructed, scenario="lrlm")):
            with pytest.raises(ModelMismatchError):
                other.check_index(index)


# --- ingestion


class NaiveEmbedding(BaseEmbedding):
    """The obvious adapter, whose scenario no cache sees."""

    _encoder: object = PrivateAttr()
    _scenario: str = PrivateAttr()

    def __init__(self, encoder, scenario):
        super().__init__()
        self._encoder, self._scenario = encoder, scenario

    def _get_query_embedding(self, query):
        return self._encoder.encode_queries([query], self._scenario)[0].tolist()

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text):
        return self._encoder.encode_documents([text], self._scenario)[0].tolist()


def ingest(embedding, cache):
    run = IngestionPipeline(transformations=[embedding], cache=cache).run(nodes=nodes()[:1])
    return run[0].embedding


@pytest.mark.parametrize(
    "change",
    [
        lambda make: (make(WordEncoder(), "qa"), make(WordEncoder(), "tool")),
        lambda make: (make(WordEncoder(), "qa"), make(WordEncoder("other instructions"), "qa")),
    ],
    ids=["scenario", "model or instructions"],
)
def test_a_pipelines_cache_is_stale_for_a_naive_adapter_and_not_for_ours(change):
    text = nodes()[0].text
    cache = IngestionCache(cache=SimpleKVStore())
    first, second = change(NaiveEmbedding)
    assert ingest(second, cache) != ingest(first, IngestionCache())
    cache.clear()
    assert ingest(first, cache) == ingest(second, cache) != second.get_text_embedding(text)  # the trap
    cache.clear()
    first, second = change(lambda encoder, scenario: RagEmbedding(embedder=encoder, scenario=scenario))
    assert ingest(first, cache) == first.get_text_embedding(text)
    assert ingest(second, cache) == second.get_text_embedding(text) != first.get_text_embedding(text)


def pipeline(embedding, store, cache=None):
    return IngestionPipeline(
        transformations=[SentenceSplitter(), EmbedTextOnly(), embedding],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
        vector_store=store,
        cache=cache or IngestionCache(),
    )


def test_an_ingestion_encodes_what_is_new_or_changed_and_nothing_else(watched, embedding):
    store = SimpleVectorStore()
    ingestion = pipeline(embedding, store)
    ingestion.run(documents=documents())
    assert sorted(watched.documents) == sorted(TEXTS.values())
    watched.documents.clear()
    ingestion.run(documents=documents())
    assert watched.documents == []
    changed = documents()
    changed[0] = Document(text="sun in bergen", doc_id="rain")
    ingestion.run(documents=changed)
    assert watched.documents == ["sun in bergen"]
    assert len(store.data.embedding_dict) == len(TEXTS)


def test_an_ingestion_that_was_persisted_reuses_its_cache(watched, embedding, tmp_path):
    steps = [EmbedTextOnly(), embedding]
    first = IngestionPipeline(transformations=steps)
    before = [node.embedding for node in first.run(nodes=nodes())]
    first.persist(str(tmp_path / "pipeline"))
    watched.documents.clear()
    again = IngestionPipeline(transformations=steps)
    again.load(str(tmp_path / "pipeline"))
    assert [node.embedding for node in again.run(nodes=nodes())] == before
    assert watched.documents == []


async def test_an_async_ingestion_gives_the_same_and_leaves_the_loop_free(watched, embedding):
    before = IngestionPipeline(transformations=[embedding]).run(nodes=nodes())
    watched.seconds = 0.3
    after, ticks = await count_ticks(IngestionPipeline(transformations=[embedding]).arun(nodes=nodes()))
    assert [node.embedding for node in after] == [node.embedding for node in before]
    assert ticks >= 5
