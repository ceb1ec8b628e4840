"""RagEmbeddings: roles, one scenario for each object, a cache that mixes nothing, and an event loop left alone."""

import asyncio
import copy
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.stores import InMemoryByteStore
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from integrations.conformance.loop_ticks import count_ticks
from integrations.langchain import RagEmbeddings
from rag_embedder import watch_encodings
from rag_embedder.errors import InvalidTextError, ModelLoadError, TextTruncatedError
from tests.retriever_cases import TEXTS, Watched, WordEncoder

TEXT = "the blue cat is on the green tree"


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture(scope="module")
def saved(embedder, tmp_path_factory):
    """The tiny encoder as a folder, with the prompts of all scenarios."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    embedder.save(folder)
    return folder


# --- roles and scenarios


@pytest.mark.parametrize("scenario", ["qa", "tool", "chat"])
def test_each_method_has_its_role_and_the_object_its_scenario(embedder, scenario):
    embeddings = RagEmbeddings(embedder=embedder, scenario=scenario)
    with watch_encodings() as seen:
        query, (document,) = embeddings.embed_query(TEXT), embeddings.embed_documents([TEXT])
    assert [(each.texts, each.scenario, each.role) for each in seen] == [
        ((TEXT,), scenario, "query"),
        ((TEXT,), scenario, "document"),
    ]
    assert query == embedder.encode_queries([TEXT], scenario)[0].tolist()
    assert document == embedder.encode_documents([TEXT], scenario)[0].tolist()
    assert query != document


def test_a_plain_adapter_ignores_the_saved_prompts_and_ours_applies_them(saved):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(saved), device="cpu")

    class Plain(Embeddings):
        """What a wrapper without options does with any model."""

        def embed_documents(self, texts):
            return model.encode(texts).tolist()

        def embed_query(self, text):
            return self.embed_documents([text])[0]

    def prompted(name):
        return model.encode([TEXT], prompt_name=name)[0]

    ours = RagEmbeddings(model=saved, scenario="tool", device="cpu")
    assert np.allclose(ours.embed_query(TEXT), prompted("tool_query"), atol=1e-5)
    assert np.allclose(ours.embed_documents([TEXT])[0], prompted("tool_document"), atol=1e-5)
    assert np.allclose(Plain().embed_query(TEXT), Plain().embed_documents([TEXT])[0], atol=1e-6)
    assert not np.allclose(Plain().embed_query(TEXT), prompted("tool_query"), atol=1e-3)


def test_a_vector_store_gets_the_right_role_on_each_side(embedder):
    store = InMemoryVectorStore(RagEmbeddings(embedder=embedder))
    with watch_encodings() as seen:
        store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
        (found,) = store.similarity_search("the capital of france", k=1)
    assert found.id == "capital"
    assert [each.role for each in seen] == ["document", "query"]


def test_vectors_are_lists_of_python_floats_of_unit_length(embedder):
    embeddings = RagEmbeddings(embedder=embedder)
    for vector in [embeddings.embed_query(TEXT), *embeddings.embed_documents([TEXT, "rain"])]:
        assert isinstance(vector, list)
        assert {type(value) for value in vector} == {float}
        assert len(vector) == embeddings.dim == embedder.dim
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_preview_and_fingerprint_say_what_is_encoded(embedder):
    embeddings = RagEmbeddings(embedder=embedder, scenario="tool")
    instruction = embedder.scenarios["tool"].query_instruction
    assert embeddings.preview("rain").text == f"{instruction}rain"
    assert embeddings.preview("rain", role="document").text.startswith("Transform this tool description")
    assert embeddings.fingerprint == embedder.fingerprint_of("tool")
    assert embeddings.fingerprint != RagEmbeddings(embedder=embedder).fingerprint


# --- texts


def test_no_texts_give_no_vectors_and_inputs_stay_as_they_were(watched):
    embeddings = RagEmbeddings(embedder=watched)
    texts = ["cat", "rain", "cat"]
    vectors = embeddings.embed_documents(texts)
    assert texts == ["cat", "rain", "cat"]
    assert vectors[0] == vectors[2] != vectors[1]
    assert embeddings.embed_documents([]) == []
    assert watched.documents == ["cat", "rain", "cat"]


@pytest.mark.parametrize("wrong", [None, 5, {"text": "cat"}, ["cat"], b"cat"])
def test_what_is_no_text_is_refused_with_its_position(watched, wrong):
    embeddings = RagEmbeddings(embedder=watched)
    with pytest.raises(InvalidTextError, match=r"text: got .*; expected str"):
        embeddings.embed_query(wrong)
    with pytest.raises(InvalidTextError, match=r"texts\[1\]: got .*; expected str"):
        embeddings.embed_documents(["cat", wrong])
    with pytest.raises(InvalidTextError, match="expected a list of str"):
        embeddings.embed_documents("cat")
    assert watched.documents == watched.queries == []


def test_a_text_longer_than_the_model_is_refused_on_request(embedder):
    long = "rain " * 500
    with pytest.raises(TextTruncatedError):
        RagEmbeddings(embedder=embedder, on_truncate="error").embed_documents([long])
    with pytest.raises(TextTruncatedError):
        RagEmbeddings(embedder=embedder, on_truncate="error").embed_query(long)


# --- the cache


class PlainCache(Embeddings):
    """What a cache keyed by text alone does, as with `query_embedding_cache=True` over one store."""

    def __init__(self, embeddings):
        self.embeddings, self.kept = embeddings, {}

    def embed_documents(self, texts):
        for text in texts:
            if text not in self.kept:
                self.kept[text] = self.embeddings.embed_documents([text])[0]
        return [self.kept[text] for text in texts]

    def embed_query(self, text):
        if text not in self.kept:
            self.kept[text] = self.embeddings.embed_query(text)
        return self.kept[text]


def test_a_plain_cache_returns_a_document_for_a_query_and_ours_does_not(watched):
    true = RagEmbeddings(embedder=watched)
    plain, ours = PlainCache(true), RagEmbeddings(embedder=watched, cache=InMemoryByteStore())
    for cached in (plain, ours):
        cached.embed_documents([TEXT])
    assert plain.embed_query(TEXT) == true.embed_documents([TEXT])[0] != true.embed_query(TEXT)
    for _ in range(2):
        assert ours.embed_query(TEXT) == true.embed_query(TEXT)
        assert ours.embed_documents([TEXT]) == true.embed_documents([TEXT])


def test_what_is_cached_is_not_encoded_again_and_only_once_in_a_call(watched):
    cached = RagEmbeddings(embedder=watched, cache=InMemoryByteStore())
    plain = RagEmbeddings(embedder=WordEncoder())
    texts = ["cat", "rain", "cat", "snow"]
    assert cached.embed_documents(texts) == plain.embed_documents(texts)
    assert watched.documents == ["cat", "rain", "snow"]
    assert cached.embed_documents([*texts, "fire"]) == plain.embed_documents([*texts, "fire"])
    assert watched.documents == ["cat", "rain", "snow", "fire"]
    assert cached.embed_query("cat") == cached.embed_query("cat") == plain.embed_query("cat")
    assert watched.queries == ["cat"]


def test_one_cache_serves_models_scenarios_and_instructions_without_mixing_them(embedder):
    cache = InMemoryByteStore()
    different = [
        RagEmbeddings(embedder=encoder, scenario=scenario, cache=cache)
        for encoder in (embedder, WordEncoder(), WordEncoder("other instructions"))
        for scenario in ("qa", "tool")
    ]
    for _ in range(2):
        for each in different:
            plain = RagEmbeddings(embedder=each.embedder, scenario=each.scenario)
            assert np.allclose(each.embed_query(TEXT), plain.embed_query(TEXT), atol=1e-5)
            assert np.allclose(each.embed_documents([TEXT]), plain.embed_documents([TEXT]), atol=1e-5)
    assert len(list(cache.yield_keys())) == 2 * len(different)


@pytest.mark.parametrize("damage", [b"", b"abc", np.full(WordEncoder.dim, np.nan, "<f4").tobytes(), "text"])
def test_a_damaged_entry_is_made_again_and_replaced(watched, damage):
    cache = InMemoryByteStore()
    cached = RagEmbeddings(embedder=watched, cache=cache)
    (before,) = cached.embed_documents(["cat"])
    (key,) = cache.yield_keys()
    cache.mset([(key, damage)])
    assert cached.embed_documents(["cat"]) == [before]
    assert cached.embed_documents(["cat"]) == [before]
    assert watched.documents == ["cat", "cat"]


# --- async and threads


async def test_the_loop_runs_on_while_a_slow_model_encodes(watched):
    embeddings = RagEmbeddings(embedder=watched)
    expected = embeddings.embed_query("cat"), embeddings.embed_documents(["cat", "rain"])
    watched.seconds = 0.3
    for call, result in zip(
        (embeddings.aembed_query("cat"), embeddings.aembed_documents(["cat", "rain"])), expected, strict=True
    ):
        vectors, ticks = await count_ticks(call)
        assert vectors == result
        assert ticks >= 8


async def test_the_loop_runs_on_while_a_slow_cache_answers(watched):
    class Slow(InMemoryByteStore):
        def mget(self, keys):
            time.sleep(0.3)
            return super().mget(keys)

    _, ticks = await count_ticks(RagEmbeddings(embedder=watched, cache=Slow()).aembed_query("cat"))
    assert ticks >= 8


@pytest.mark.parametrize("cache", [None, InMemoryByteStore()])
def test_sixteen_threads_get_the_vectors_of_one(embedder, cache):
    embeddings = RagEmbeddings(embedder=embedder, cache=cache)
    texts = [f"{text} {n}" for n in range(8) for text in TEXTS.values()]
    queries = [embedder.encode_queries([text])[0] for text in texts] * 2
    documents = [embedder.encode_documents([text])[0] for text in texts] * 2
    with ThreadPoolExecutor(16) as pool:
        assert np.allclose(list(pool.map(embeddings.embed_query, texts * 2)), queries, atol=1e-5)
        both = pool.map(lambda text: embeddings.embed_documents([text, text])[1], texts * 2)
        assert np.allclose(list(both), documents, atol=1e-5)


async def test_it_is_the_index_of_a_langgraph_store(embedder):
    store_module = pytest.importorskip("langgraph.store.memory")
    embeddings = RagEmbeddings(embedder=embedder, scenario="chat")
    store = store_module.InMemoryStore(index={"embed": embeddings, "dims": embeddings.dim, "fields": ["text"]})
    with watch_encodings() as seen:
        for name, text in TEXTS.items():
            store.put(("ann",), name, {"text": text})
        found = store.search(("ann",), query="the capital of france", limit=1)
        also = await store.asearch(("ann",), query="the capital of france", limit=1)
    assert [item.key for item in found] == [item.key for item in also] == ["capital"]
    assert [(each.role, each.scenario) for each in seen] == [("document", "chat")] * 6 + [("query", "chat")] * 2
    queries = list(TEXTS.values()) * 5
    with ThreadPoolExecutor(16) as pool:
        hits = pool.map(lambda query: store.search(("ann",), query=query, limit=1)[0].value["text"], queries)
    assert list(hits) == queries
    many = await asyncio.gather(*(store.asearch(("ann",), query=query, limit=1) for query in queries))
    assert [items[0].value["text"] for items in many] == queries


# --- settings, copies, processes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modle": "x"}, "modle"),
        ({"scenario": "tol"}, "unknown scenario 'tol'; expected one of: .*Did you mean 'tool'"),
        ({"scenario": 5}, "scenario"),
        ({"dtype": "float99"}, "unknown dtype 'float99'"),
        ({"instructions": "nope"}, "unknown instruction set 'nope'"),
        ({"on_truncate": "chunk"}, "on_truncate"),
        ({"model": "a", "model_name": "b"}, "model, model_name: got both; expected one of them"),
        ({"embedder": WordEncoder(), "model": "a"}, "embedder, model: got both; expected either"),
        ({"embedder": WordEncoder(), "device": "cpu"}, "embedder, device: got both"),
        ({"embedder": "a model"}, "embedder: got str; expected an Embedder"),
        ({"embedder": WordEncoder(), "cache": {}}, "cache"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once(saved, options, message):
    if "embedder" not in options and "model" not in options:
        options = {"model": saved, "device": "cpu", **options}
    with pytest.raises(ValidationError, match=message):
        RagEmbeddings(**options)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelLoadError, match="nothing-here"):
        RagEmbeddings(model=tmp_path / "nothing-here")


def test_both_names_of_the_model_work_and_objects_share_it(saved):
    one, two = RagEmbeddings(model=saved), RagEmbeddings(model_name=str(saved), scenario="tool")
    assert one._encoder is two._encoder
    assert RagEmbeddings(model=saved, instructions="none")._encoder is not one._encoder
    assert two.model == str(saved)


def test_copies_and_round_trips_give_the_same_vectors(saved):
    embeddings = RagEmbeddings(model=saved, scenario="tool", instructions="llm-embedder")
    expected = embeddings.embed_query(TEXT)
    copies = [
        pickle.loads(pickle.dumps(embeddings)),
        copy.copy(embeddings),
        copy.deepcopy(embeddings),
        embeddings.model_copy(),
        RagEmbeddings(**embeddings.model_dump()),
        RagEmbeddings.model_validate_json(embeddings.model_dump_json()),
    ]
    for each in copies:
        assert each.scenario == "tool"
        assert each.embed_query(TEXT) == expected
        assert each.fingerprint == embeddings.fingerprint


def test_it_travels_to_another_process(saved):
    embeddings = RagEmbeddings(model=saved, scenario="tool", device="cpu")
    program = (
        "import pickle, sys; embeddings = pickle.load(sys.stdin.buffer); "
        "print(embeddings.fingerprint, embeddings.embed_query('rain')[:3])"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(embeddings), capture_output=True, check=False
    )
    fingerprint, _, values = out.stdout.decode().partition(" ")
    assert fingerprint == embeddings.fingerprint, out.stderr.decode()[-2000:]
    assert np.allclose(eval(values), embeddings.embed_query("rain")[:3], atol=1e-6)


def test_a_live_embedder_is_shared_by_copies_and_refuses_to_be_pickled(embedder):
    embeddings = RagEmbeddings(embedder=embedder)
    for each in (copy.copy(embeddings), copy.deepcopy(embeddings), embeddings.model_copy(deep=True)):
        assert each.embedder is embedder
    with pytest.raises(TypeError, match=r"cannot be pickled.*RagEmbeddings\(model=\.\.\.\)"):
        pickle.dumps(embeddings)


def test_a_changed_copy_is_checked_and_never_keeps_the_old_model(saved, embedder):
    embeddings = RagEmbeddings(model=saved, instructions="llm-embedder")
    changed = embeddings.model_copy(update={"instructions": "none"})
    assert changed.embed_query(TEXT) != embeddings.embed_query(TEXT)
    assert changed.embed_query(TEXT) == RagEmbeddings(model=saved, instructions="none").embed_query(TEXT)
    for update in ({"scenario": "tol"}, {"scenari": "tool"}):
        with pytest.raises(ValidationError, match=r"tol|scenari"):
            embeddings.model_copy(update=update)
    with pytest.raises(ValidationError, match="frozen"):
        embeddings.scenario = "tool"  # stores hold vectors of the old one
