"""RagEmbedding: roles, caches, copies, and what LlamaIndex's own embed models do instead."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.storage.kvstore import SimpleKVStore
from pydantic import PrivateAttr, ValidationError

from integrations.conformance.llama_index_embedding import EmbeddingConformance
from integrations.conformance.loop_ticks import count_ticks
from integrations.llama_index.embedding import RagEmbedding
from rag_embedder import Embedder, watch_encodings
from rag_embedder.errors import InvalidTextError, ModelLoadError
from tests.retriever_cases import Watched, WordEncoder


@pytest.fixture
def watched():
    return Watched(WordEncoder())


class NaiveEmbedding(BaseEmbedding):
    """The obvious adapter: abstract methods only, the instruction in a private attribute."""

    _encoder: object = PrivateAttr()
    _scenario: str = PrivateAttr()

    def __init__(self, encoder=None, scenario="qa", **data):
        super().__init__(**data)
        self._encoder, self._scenario = encoder or WordEncoder(), scenario

    def _get_query_embedding(self, query):
        return self._encoder.encode_queries([query], self._scenario)[0].tolist()

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text):
        return self._encoder.encode_documents([text], self._scenario)[0].tolist()


class TestRagEmbeddingConforms(EmbeddingConformance):
    @pytest.fixture
    def embedding(self, watched):
        return RagEmbedding(embedder=watched, embed_batch_size=4)

    @pytest.fixture
    def slow_embedding(self, watched):
        watched.seconds = 0.3
        return RagEmbedding(embedder=watched)

    @pytest.fixture
    def cached_embedding(self, watched):
        return RagEmbedding(embedder=watched, embeddings_cache=SimpleKVStore())

    @pytest.fixture
    def other_embedding(self, watched):
        return RagEmbedding(embedder=watched, scenario="tool")

    def restore(self, embedding):
        return RagEmbedding.from_dict(embedding.to_dict(), embedder=embedding.embedder)


class TestRagEmbeddingOfALoadedModelConforms(EmbeddingConformance):
    @pytest.fixture
    def folder(self, embedder, tmp_path):
        embedder.save(tmp_path / "model")
        return tmp_path / "model"

    @pytest.fixture
    def embedding(self, folder):
        return RagEmbedding(model_name=folder, device="cpu")

    @pytest.fixture
    def cached_embedding(self, folder):
        return RagEmbedding(model_name=folder, device="cpu", embeddings_cache=SimpleKVStore())

    @pytest.fixture
    def other_embedding(self, folder):
        return RagEmbedding(model_name=folder, device="cpu", instructions="none")


class TestTheSuiteFailsOnANaiveAdapter:
    suite = EmbeddingConformance()

    async def test_that_encodes_on_the_event_loop(self, watched):
        watched.seconds = 0.1
        with pytest.raises(AssertionError):
            await self.suite.test_async_calls_leave_the_event_loop_free(NaiveEmbedding(watched))

    async def test_whose_cache_mixes_queries_with_documents(self, watched):
        cached = NaiveEmbedding(watched, embeddings_cache=SimpleKVStore())
        with pytest.raises(AssertionError):
            await self.suite.test_the_cache_keeps_queries_and_documents_apart(cached, NaiveEmbedding(watched), "query")

    def test_whose_instruction_no_pipeline_cache_sees(self):
        with pytest.raises(AssertionError):
            self.suite.test_a_pipeline_notices_that_an_option_has_changed(
                NaiveEmbedding(scenario="qa"), NaiveEmbedding(scenario="tool")
            )

    def test_that_forgets_its_options_in_its_dict(self):
        with pytest.raises(AssertionError):
            self.suite.test_its_dict_is_json_and_restores_an_object_with_the_same_vectors(
                NaiveEmbedding(scenario="tool")
            )

    def test_that_ignores_misspelt_options(self):
        with pytest.raises(AssertionError):
            self.suite.test_an_unknown_option_is_refused(NaiveEmbedding())

    def test_that_has_no_class_name(self):
        with pytest.raises(AssertionError):
            self.suite.test_it_is_an_embed_model_with_a_class_name_of_its_own(NaiveEmbedding())

    def test_that_encodes_queries_as_documents(self, watched):
        watched.encode_queries = watched.encode_documents
        with pytest.raises(AssertionError):
            self.suite.test_queries_and_documents_have_different_vectors(NaiveEmbedding(watched))


# --- roles and scenarios


@pytest.mark.parametrize("scenario", ["qa", "tool", "chat"])
def test_vectors_are_those_of_the_encoder_for_role_and_scenario(embedder, scenario):
    embedding = RagEmbedding(embedder=embedder, scenario=scenario)
    text = "the capital of france"
    assert embedding.get_query_embedding(text) == embedder.encode_queries([text], scenario)[0].tolist()
    assert embedding.get_text_embedding(text) == embedder.encode_documents([text], scenario)[0].tolist()
    assert embedding.preview(text).text == embedder.scenarios[scenario].query_instruction + text


async def test_every_path_reaches_its_side_of_the_encoder(embedder):
    embedding = RagEmbedding(embedder=embedder, scenario="tool")
    with watch_encodings() as seen:
        embedding.get_query_embedding("q1")
        await embedding.aget_query_embedding("q2")
        embedding.get_agg_embedding_from_queries(["q3"])
        embedding.get_text_embedding("d1")
        await embedding.aget_text_embedding("d2")
        embedding.get_text_embedding_batch(["d3"])
        await embedding.aget_text_embedding_batch(["d4"])
    assert {(text, call.scenario, call.role) for call in seen for text in call.texts} == {
        *((f"q{number}", "tool", "query") for number in (1, 2, 3)),
        *((f"d{number}", "tool", "document") for number in (1, 2, 3, 4)),
    }


async def test_a_bare_text_is_refused_where_a_list_is_expected(watched):
    embedding = RagEmbedding(embedder=watched)
    for wrong in ("abc", b"abc", {"abc"}, {"abc": 1}, None):
        with pytest.raises(InvalidTextError, match=r"^texts: got .*; expected a list of str"):
            embedding.get_text_embedding_batch(wrong)
        with pytest.raises(InvalidTextError, match=r"^texts: got"):
            await embedding.aget_text_embedding_batch(wrong)
        with pytest.raises(InvalidTextError, match=r"^queries: got"):
            embedding.get_agg_embedding_from_queries(wrong)
        with pytest.raises(InvalidTextError, match=r"^queries: got"):
            await embedding.aget_agg_embedding_from_queries(wrong)
    assert watched.documents == watched.queries == []
    plain = embedding.get_text_embedding_batch(["a", "b"])
    assert embedding.get_text_embedding_batch(text for text in "ab") == plain
    assert await embedding.aget_text_embedding_batch(text for text in "ab") == plain


def test_texts_are_encoded_in_batches_of_the_size_asked_for(watched):
    calls = []
    watched.spoil = lambda vectors: (calls.append(len(vectors)), vectors)[1]
    RagEmbedding(embedder=watched, embed_batch_size=3).get_text_embedding_batch([f"text {n}" for n in range(8)])
    assert calls == [3, 3, 2]


# --- the cache


def test_llama_indexs_own_cache_gives_a_query_the_vector_of_a_document_and_ours_does_not(watched):
    text = "oslo"
    query, document = (
        NaiveEmbedding(watched).get_query_embedding(text),
        NaiveEmbedding(watched).get_text_embedding(text),
    )
    naive = NaiveEmbedding(watched, embeddings_cache=SimpleKVStore())
    ours = RagEmbedding(embedder=watched, embeddings_cache=SimpleKVStore())
    for embedding in (naive, ours):
        assert embedding.get_text_embedding(text) == document
    assert naive.get_query_embedding(text) == document  # the trap
    assert ours.get_query_embedding(text) == query != document


async def test_what_is_cached_is_not_encoded_again(watched):
    embedding = RagEmbedding(embedder=watched, embeddings_cache=SimpleKVStore())
    for _ in range(2):
        embedding.get_query_embedding("one")
        await embedding.aget_query_embedding("one")
        embedding.get_text_embedding("one")
        await embedding.aget_text_embedding("one")
        embedding.get_text_embedding_batch(["one", "two"])
        await embedding.aget_text_embedding_batch(["two", "three"])
    assert watched.queries == ["one"]
    assert watched.documents == ["one", "two", "three"]


def test_models_scenarios_and_instructions_may_share_one_cache(watched):
    store = SimpleKVStore()
    encoders = [watched, Watched(WordEncoder("other weights"))]
    cached = [RagEmbedding(embedder=e, scenario=s, embeddings_cache=store) for e in encoders for s in ("qa", "tool")]
    for embedding in cached * 2:
        plain = RagEmbedding(embedder=embedding.embedder, scenario=embedding.scenario)
        assert embedding.get_text_embedding("oslo") == plain.get_text_embedding("oslo")
        assert embedding.get_query_embedding("oslo") == plain.get_query_embedding("oslo")
    assert len(store.get_all("embeddings")) == 8


def test_a_cache_that_was_persisted_is_used_again(watched, tmp_path):
    store = SimpleKVStore()
    first = RagEmbedding(embedder=watched, embeddings_cache=store).get_query_embedding("oslo")
    store.persist(str(tmp_path / "cache.json"))
    again = RagEmbedding(
        embedder=watched, embeddings_cache=SimpleKVStore.from_persist_path(str(tmp_path / "cache.json"))
    )
    assert again.get_query_embedding("oslo") == first
    assert watched.queries == ["oslo"]


def test_the_cache_is_right_for_sixteen_threads_on_both_sides(watched):
    plain = RagEmbedding(embedder=watched)
    expected = {
        (side, text): getattr(plain, f"get_{side}_embedding")(text) for side in ("query", "text") for text in "abcdefgh"
    }
    cached = RagEmbedding(embedder=watched, embeddings_cache=SimpleKVStore())
    asked = list(expected) * 8

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda ask: getattr(cached, f"get_{ask[0]}_embedding")(ask[1]), asked))
    assert found == [expected[ask] for ask in asked]


def test_a_store_that_is_none_is_refused_as_a_cache(watched):
    with pytest.raises((ValidationError, TypeError), match="BaseKVStore"):
        RagEmbedding(embedder=watched, embeddings_cache={})


# --- async


async def test_llama_indexs_default_blocks_the_loop_and_ours_does_not(watched):
    watched.seconds = 0.3
    _, naive = await count_ticks(NaiveEmbedding(watched).aget_text_embedding("text"))
    _, ours = await count_ticks(RagEmbedding(embedder=watched).aget_text_embedding("text"))
    assert naive <= 1
    assert ours >= 5


async def test_batches_are_encoded_at_the_same_time(watched):
    watched.seconds = 0.2
    started = time.perf_counter()
    await RagEmbedding(embedder=watched, embed_batch_size=1).aget_text_embedding_batch([f"text {n}" for n in range(8)])
    assert time.perf_counter() - started < 1.0


async def test_workers_and_progress_give_the_same_vectors(watched, capsys):
    texts = [f"text {n}" for n in range(5)]
    plain = RagEmbedding(embedder=watched).get_text_embedding_batch(texts)
    some = RagEmbedding(embedder=watched, embed_batch_size=2, num_workers=2)
    assert await some.aget_text_embedding_batch(texts, show_progress=True) == plain
    assert some.get_text_embedding_batch(texts, show_progress=True) == plain
    assert "Generating embeddings" in capsys.readouterr().err


# --- configuration


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scenari": "qa"}, "scenari"),
        ({"scenario": "cooking"}, "unknown scenario 'cooking'.*qa, convsearch"),
        ({"device": "abacus"}, "abacus"),
        ({"dtype": "float7"}, "float7"),
        ({"instructions": "none-such"}, "unknown instruction set"),
        ({"embed_batch_size": 0}, "greater than 0"),
        ({"model": "a", "model_name": "b"}, "model, model_name: got both"),
        ({"embedder": "a path"}, "embedder: got str; expected an Embedder"),
    ],
)
def test_mistakes_are_refused_at_construction(options, said):
    with pytest.raises(ValueError, match=said):
        RagEmbedding(**options)


def test_a_live_embedder_and_something_to_load_are_refused_together(watched):
    with pytest.raises(ValueError, match="embedder, model_name, instructions: got both"):
        RagEmbedding(embedder=watched, model_name="a/b", instructions="none")


@pytest.mark.parametrize("field", ["scenario", "model_name", "instructions", "fingerprint", "embeddings_cache"])
def test_what_decides_the_vectors_cannot_be_changed_afterwards(watched, field):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(RagEmbedding(embedder=watched), field, "tool")


def test_model_is_another_name_for_model_name(tiny_folder):
    for given in ({"model": tiny_folder}, {"model_name": str(tiny_folder)}, {"model_name": Path(tiny_folder)}):
        assert RagEmbedding(**given, device="cpu", instructions="none").model_name == str(tiny_folder)


def test_objects_that_name_one_model_share_it(tiny_folder):
    options = {"model_name": tiny_folder, "device": "cpu", "instructions": "llm-embedder"}
    one, other = RagEmbedding(**options, scenario="qa"), RagEmbedding(**options, scenario="tool")
    assert one._encoder is other._encoder
    assert one.fingerprint != other.fingerprint


def test_the_default_is_the_model_that_ships(minilm):
    embedding = RagEmbedding(device="cpu")
    assert embedding.model_name == RagEmbedding(model_name=None, device="cpu").model_name == "default"
    assert embedding.fingerprint == minilm.fingerprint_of("qa")
    assert np.allclose(embedding.get_query_embedding("oslo"), minilm.encode_queries(["oslo"])[0], atol=1e-5)


def test_it_serves_as_the_embed_model_of_the_settings(watched):
    before = Settings._embed_model
    try:
        Settings.embed_model = RagEmbedding(embedder=watched)
        assert isinstance(Settings.embed_model, RagEmbedding)
    finally:
        Settings._embed_model = before


def test_tracing_sees_scenario_and_fingerprint_and_nothing_else_new(watched):
    assert RagEmbedding(embedder=watched, scenario="tool").to_payload() == {
        "class_name": "RagEmbedding",
        "model_name": "words",
        "embed_batch_size": 64,
        "scenario": "tool",
        "fingerprint": watched.fingerprint_of("tool"),
    }


def test_the_model_answers_for_a_missing_folder(tmp_path):
    with pytest.raises(ModelLoadError, match="no model folder") as caught:
        RagEmbedding(model_name=tmp_path / "missing")
    assert "embedder=" not in str(caught.value)


def test_a_custom_scenario_is_used(tmp_path, embedder):
    from rag_embedder import Scenario

    embedder.save(tmp_path / "own")
    own = Embedder.load(tmp_path / "own", device="cpu")
    own.register_scenario(Scenario("code", "Find code for: ", "Code: "))
    embedding = RagEmbedding(embedder=own, scenario="code")
    assert embedding.preview("x", role="document").text == "Code: x"
    assert embedding.get_text_embedding("x") == own.encode_documents(["x"], "code")[0].tolist()
