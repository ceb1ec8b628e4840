"""Chroma through LlamaIndex: persisted, opened in a new process, the same hits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

chromadb = pytest.importorskip("chromadb")
pytest.importorskip("llama_index.vector_stores.chroma")

from llama_index.core import StorageContext, VectorStoreIndex  # noqa: E402
from llama_index.core.schema import TextNode  # noqa: E402
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters  # noqa: E402
from llama_index.vector_stores.chroma import ChromaVectorStore  # noqa: E402

from integrations.llama_index.embedding import RagEmbedding  # noqa: E402
from rag_embedder import watch_encodings  # noqa: E402
from rag_embedder.errors import ModelMismatchError  # noqa: E402

TEXTS = {
    "oslo": "Oslo is the capital of Norway.",
    "bread": "Bread is baked from flour, water and yeast.",
    "cat": "The cat sleeps on the warm stove.",
}
QUERIES = ["What is Norway's capital?", "How do I bake a loaf?", "Where is the animal?"]

PROGRAM = """
import json, sys
import chromadb
from llama_index.core import VectorStoreIndex
from llama_index.vector_stores.chroma import ChromaVectorStore
from integrations.llama_index.embedding import RagEmbedding
from rag_embedder import watch_encodings

folder, data, queries = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
collection = chromadb.PersistentClient(folder).get_collection("texts")
embedding = RagEmbedding.from_dict(data)
index = VectorStoreIndex.from_vector_store(ChromaVectorStore(chroma_collection=collection), embed_model=embedding)
embedding.check_index(index)
retriever = index.as_retriever(similarity_top_k=3)
with watch_encodings() as seen:
    found = [[(n.node.node_id, n.score, n.node.metadata) for n in retriever.retrieve(query)] for query in queries]
print(json.dumps({"found": found, "roles": [call.role for call in seen]}))
"""


@pytest.fixture
def embedding():
    return RagEmbedding(device="cpu")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "chroma"


def build(folder, embedding):
    collection = chromadb.PersistentClient(str(folder)).create_collection("texts", metadata={"hnsw:space": "cosine"})
    context = StorageContext.from_defaults(vector_store=ChromaVectorStore(chroma_collection=collection))
    nodes = [
        TextNode(text=text, id_=id_, metadata={"length": len(text)}, excluded_embed_metadata_keys=["length"])
        for id_, text in TEXTS.items()
    ]
    return VectorStoreIndex(nodes, storage_context=context, embed_model=embedding)


def hits(index, query, **options):
    found = index.as_retriever(similarity_top_k=3, **options).retrieve(query)
    return [(node.node.node_id, node.score, node.node.metadata) for node in found]


def test_a_new_process_finds_the_same_and_encodes_queries_only(folder, embedding):
    index = build(folder, embedding)
    before = [hits(index, query) for query in QUERIES]
    assert [found[0][0] for found in before] == ["oslo", "bread", "cat"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), embedding.to_json(), json.dumps(QUERIES)],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    after = json.loads(done.stdout)
    assert after["roles"] == ["query"] * len(QUERIES)
    for found, expected in zip(after["found"], before, strict=True):
        assert [hit[0] for hit in found] == [hit[0] for hit in expected]
        assert [hit[1] for hit in found] == pytest.approx([hit[1] for hit in expected], abs=1e-5)
        assert [hit[2] for hit in found] == [hit[2] for hit in expected]


async def test_texts_are_stored_as_documents_and_asked_for_as_queries(folder, embedding):
    with watch_encodings() as seen:
        index = build(folder, embedding)
        hits(index, QUERIES[0])
        await index.as_retriever().aretrieve(QUERIES[1])
    assert [(call.texts, call.role) for call in seen] == [
        (tuple(TEXTS.values()), "document"),
        ((QUERIES[0],), "query"),
        ((QUERIES[1],), "query"),
    ]


def test_llama_indexs_own_filters_work(folder, embedding):
    index = build(folder, embedding)
    short = MetadataFilters(filters=[MetadataFilter(key="length", value=32, operator="<")])
    assert [hit[0] for hit in hits(index, QUERIES[1], filters=short)] == ["oslo"]


def test_the_check_tells_another_model_scenario_and_length_from_the_right_one(folder, embedder):
    def instructed(scenario):
        return RagEmbedding(device="cpu", instructions="llm-embedder", scenario=scenario)

    index = build(folder, instructed("qa"))
    instructed("qa").check_index(index)
    for other in (RagEmbedding(device="cpu"), instructed("tool")):
        with pytest.raises(ModelMismatchError, match="not 1"):
            other.check_index(index)
    with pytest.raises(ModelMismatchError, match="length 32"):
        RagEmbedding(embedder=embedder).check_index(index)
