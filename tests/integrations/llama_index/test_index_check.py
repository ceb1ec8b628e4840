"""`RagEmbedding.check_index`: not only what an index holds, but what it asks with."""

import pytest
from llama_index.core import Settings, StorageContext, SummaryIndex, VectorStoreIndex, load_index_from_storage
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import TextNode

from integrations.llama_index import RagEmbedding
from rag_embedder.errors import InputError, ModelMismatchError
from tests.retriever_cases import TEXTS, Watched, WordEncoder


@pytest.fixture
def right():
    return RagEmbedding(embedder=WordEncoder(), scenario="qa")


@pytest.fixture
def storage(right, tmp_path):
    nodes = [TextNode(text=text, id_=id_) for id_, text in TEXTS.items()]
    VectorStoreIndex(nodes, embed_model=right).storage_context.persist(tmp_path)
    return lambda: StorageContext.from_defaults(persist_dir=str(tmp_path))


def test_an_index_that_asks_in_another_scenario_is_found_out(right, storage, monkeypatch):
    monkeypatch.setattr(Settings, "_embed_model", RagEmbedding(embedder=WordEncoder(), scenario="chat"))
    index = load_index_from_storage(storage())
    assert len(index.as_retriever(similarity_top_k=2).retrieve("cat")) == 2  # the trap: it answers
    message = r"asks with 'words' in scenario 'chat'; expected 'words' in scenario 'qa'.*embed_model="
    with pytest.raises(ModelMismatchError, match=message):
        right.check_index(index)
    right.check_index(load_index_from_storage(storage(), embed_model=right))


@pytest.mark.parametrize(
    "asking",
    [RagEmbedding(embedder=WordEncoder("other weights", name="other")), MockEmbedding(embed_dim=64)],
    ids=["other weights", "another class"],
)
def test_an_index_that_asks_with_another_model_is_found_out(right, storage, asking):
    with pytest.raises(ModelMismatchError, match=f"asks with '{asking.model_name}'"):
        right.check_index(load_index_from_storage(storage(), embed_model=asking))
    with pytest.raises(ModelMismatchError, match="asks with"):
        right.check_index(VectorStoreIndex([], embed_model=asking))


def test_another_object_of_the_same_model_and_scenario_is_right(right, storage):
    watched = Watched(WordEncoder())
    index = load_index_from_storage(storage(), embed_model=RagEmbedding(embedder=watched))
    right.check_index(index)
    assert watched.documents == watched.queries == []


def test_what_is_no_vector_index_is_refused(right):
    for wrong in (None, "folder", SummaryIndex([]), VectorStoreIndex([], embed_model=right).as_retriever()):
        with pytest.raises(InputError, match=rf"index: got {type(wrong).__name__}; expected a VectorStoreIndex"):
            right.check_index(wrong)
