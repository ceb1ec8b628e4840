"""RagEmbedding as a dict, JSON, pickle or copy: the same vectors, or an error that says why not."""

import copy
import json
import pickle

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore

from integrations.llama_index.embedding import RagEmbedding
from rag_embedder.errors import ModelLoadError, ModelMismatchError
from tests.retriever_cases import WordEncoder


@pytest.fixture
def words():
    return WordEncoder()


@pytest.fixture
def loaded(tiny_folder):
    return RagEmbedding(model_name=tiny_folder, device="cpu", instructions="llm-embedder", scenario="icl")


def test_dict_json_and_pickle_bring_back_the_same_vectors(loaded):
    for restored in (
        RagEmbedding.from_dict(loaded.to_dict()),
        RagEmbedding.from_json(loaded.to_json()),
        pickle.loads(pickle.dumps(loaded)),
    ):
        assert restored.to_dict() == loaded.to_dict()
        assert restored.get_query_embedding("oslo") == loaded.get_query_embedding("oslo")
        assert restored.get_text_embedding("oslo") == loaded.get_text_embedding("oslo")


def test_the_dict_holds_every_public_option_and_the_fingerprint_but_no_cache(loaded):
    cached = loaded.model_copy(update={"embeddings_cache": SimpleKVStore()})
    assert json.loads(cached.to_json()) == {
        "class_name": "RagEmbedding",
        "model_name": loaded.model_name,
        "scenario": "icl",
        "device": "cpu",
        "dtype": "auto",
        "instructions": "llm-embedder",
        "fingerprint": loaded.fingerprint,
        "embed_batch_size": 64,
        "num_workers": None,
    }
    assert pickle.loads(pickle.dumps(cached)).embeddings_cache is None


def test_a_dict_of_another_model_is_refused(loaded, tmp_path):
    for changed in ({"instructions": "none"}, {"scenario": "qa"}):
        with pytest.raises(ModelMismatchError, match=f"got {loaded.fingerprint[:12]}.*embed everything again"):
            RagEmbedding.from_dict({**loaded.to_dict(), **changed})


def test_a_dict_of_a_live_embedder_needs_that_embedder_again(words):
    embedding = RagEmbedding(embedder=words, scenario="tool")
    data = embedding.to_dict()
    assert data["model_name"] == "words"
    restored = RagEmbedding.from_dict(data, embedder=words)
    assert restored.get_query_embedding("oslo") == embedding.get_query_embedding("oslo")
    with pytest.raises(ModelLoadError, match=r"from_dict\(data, embedder=...\)"):
        RagEmbedding.from_dict(data)
    with pytest.raises(ModelMismatchError):
        RagEmbedding.from_dict(data, embedder=WordEncoder("other weights"))


def test_a_live_embedder_is_not_pickled_and_that_is_said(embedder):
    with pytest.raises(TypeError, match=r"RagEmbedding\(model_name=...\)"):
        pickle.dumps(RagEmbedding(embedder=embedder))


def test_copies_share_the_model_and_changed_ones_are_checked(embedder):
    embedding = RagEmbedding(embedder=embedder, embeddings_cache=SimpleKVStore())
    for copied in (copy.copy(embedding), copy.deepcopy(embedding), embedding.model_copy()):
        assert copied._encoder is embedder
        assert copied.get_query_embedding("oslo") == embedding.get_query_embedding("oslo")
    tool = embedding.model_copy(update={"scenario": "tool"})
    assert tool.fingerprint == embedder.fingerprint_of("tool")
    assert tool.get_query_embedding("oslo") == RagEmbedding(embedder=embedder, scenario="tool").get_query_embedding(
        "oslo"
    )
    assert tool.embeddings_cache.store is embedding.embeddings_cache.store
    other = embedding.model_copy(update={"embedder": WordEncoder()})
    assert (other.model_name, other.fingerprint) == ("words", WordEncoder().fingerprint_of("qa"))
    with pytest.raises(ValueError, match="unknown scenario"):
        embedding.model_copy(update={"scenario": "cooking"})
