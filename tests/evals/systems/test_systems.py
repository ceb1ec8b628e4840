"""What each system answers, on sets small enough to check by eye."""

import numpy as np
import pytest

from evals.records import Query
from evals.systems.bm25 import BM25System
from evals.systems.chance import OracleSystem, RandomSystem
from evals.systems.dense import DenseSystem
from evals.systems.hybrid import HybridSystem
from evals.systems.texts import document_text, query_text
from evals.vector_cache import VectorCache
from rag_embedder.types import Document, Turn
from tests.evals.small_sets import CountingEncoder, dialogue_set, memory_set, weather_set


def dense(encoder=None, cache=None):
    return DenseSystem(encoder or CountingEncoder(), name="dense", settings={}, cache=cache)


SYSTEMS = [BM25System, RandomSystem, OracleSystem, dense, lambda: HybridSystem(dense())]


def ids(ranking):
    return [id_ for id_, _ in ranking]


def search(system, evaluation_set, k=10):
    return system.index(evaluation_set).search(evaluation_set.queries, k)


@pytest.mark.parametrize("make", SYSTEMS)
@pytest.mark.parametrize("case", [weather_set, dialogue_set, memory_set])
def test_every_system_ranks_each_document_once_with_falling_scores(make, case):
    evaluation_set = case()
    rankings = search(make(), evaluation_set)
    assert len(rankings) == len(evaluation_set.queries)
    for ranking in rankings:
        assert len(set(ids(ranking))) == len(ranking) <= len(evaluation_set.documents)
        scores = [score for _, score in ranking]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("make", SYSTEMS)
def test_a_query_with_a_text_of_its_own_finds_nothing_outside_it(make):
    ann, bob = search(make(), memory_set())
    assert set(ids(ann)) <= {"ann#0", "ann#1"}
    assert ids(bob) == ["bob#0"]


@pytest.mark.parametrize("make", SYSTEMS)
def test_a_query_of_a_text_that_is_not_there_finds_nothing(make):
    index = make().index(memory_set())
    assert list(index.search([Query(id="x", text="rain", within="eve")], 5)[0]) == []


@pytest.mark.parametrize("make", [BM25System, dense])
def test_words_and_vectors_find_the_document_that_shares_the_words(make):
    assert [ids(ranking)[0] for ranking in search(make(), weather_set())] == ["d1", "d2", "d3"]


@pytest.mark.parametrize("make", [BM25System, dense, lambda: HybridSystem(dense())])
def test_conversational_search_reads_the_history(make):
    assert ids(search(make(), dialogue_set())[0])[0] == "b"


def test_elsewhere_the_history_is_left_out():
    query = Query(id="q", text="and its tram", history=[Turn("user", "bergen")])
    assert query_text(query, "tool") == "and its tram"
    assert query_text(query, "convsearch") == "bergen and its tram"


def test_a_history_that_is_too_long_loses_whole_turns_the_oldest_first():
    query = Query(id="q", text="now", history=[Turn("user", "a b"), Turn("assistant", "c d"), Turn("user", "e f")])
    assert query_text(query, "convsearch", lambda text: len(text.split()) <= 5) == "c d e f now"


def test_documents_are_title_space_text():
    assert document_text(Document("rain falls", title="Oslo")) == "Oslo rain falls"
    assert document_text(Document("rain falls")) == "rain falls"


def test_the_oracle_puts_the_most_relevant_first_and_fills_up():
    rankings = search(OracleSystem(), weather_set(), k=4)
    assert ids(rankings[2])[:2] == ["d3", "d1"]
    assert set(ids(rankings[2])) == {"d1", "d2", "d3", "d4"}
    assert [score for _, score in rankings[2]] == [4.0, 3.0, 2.0, 1.0]


def test_the_oracle_gives_k_documents_when_many_are_judged():
    assert ids(search(OracleSystem(), weather_set(), k=1)[2]) == ["d3"]


def test_chance_is_the_same_in_every_run_and_different_for_other_queries():
    first, again = search(RandomSystem(), weather_set()), search(RandomSystem(), weather_set())
    assert first == again
    many = [Query(id=f"q{number}", text="x") for number in range(40)]
    orders = {tuple(ids(ranking)) for ranking in RandomSystem().index(weather_set()).search(many, 4)}
    assert len(orders) > 10


def test_dense_scores_are_inner_products_of_the_right_roles():
    encoder, evaluation_set = CountingEncoder(), weather_set()
    ranking = dict(search(dense(encoder), evaluation_set)[0])
    query = encoder.encode_queries(["rain oslo"], "qa")[0]
    for document in evaluation_set.documents:
        vector = encoder.encode_documents([document_text(document)], "qa")[0]
        assert ranking[document.id] == pytest.approx(float(query @ vector), abs=1e-6)


def test_equal_scores_are_ordered_by_id():
    evaluation_set = weather_set()
    twins = [Document("rain", id="z"), Document("rain", id="a"), Document("rain", id="m")]
    object.__setattr__(evaluation_set, "documents", twins)
    for system in (dense(), BM25System()):
        assert ids(search(system, evaluation_set)[0]) == ["a", "m", "z"]


def test_hybrid_is_reciprocal_rank_fusion_of_both():
    evaluation_set = weather_set()
    fused = search(HybridSystem(dense()), evaluation_set)[2]
    both = [ids(search(dense(), evaluation_set)[2]), ids(search(BM25System(), evaluation_set)[2])]
    expected = {}
    for ranking in both:
        for rank, id_ in enumerate(ranking, start=1):
            expected[id_] = expected.get(id_, 0) + 1 / (60 + rank)
    assert dict(fused) == pytest.approx(expected)


def test_cached_vectors_equal_fresh_ones_and_are_not_encoded_again(tmp_path):
    cold, warm = CountingEncoder(), CountingEncoder()
    fresh = search(dense(), weather_set())
    assert search(dense(cold, VectorCache(tmp_path)), weather_set()) == fresh
    assert search(dense(warm, VectorCache(tmp_path)), weather_set()) == fresh
    assert len(cold.documents) == 4
    assert (warm.documents, warm.queries) == ([], [])


def test_the_cache_never_serves_another_model_scenario_or_role(tmp_path):
    cache, texts = VectorCache(tmp_path), ["rain", "snow"]
    encoders = [CountingEncoder(), CountingEncoder(salt="other")]
    vectors = [
        cache.encode(encoder, texts, scenario=scenario, role=role)
        for encoder in encoders
        for scenario in ("qa", "tool")
        for role in ("query", "document")
    ]
    assert len({array.tobytes() for array in vectors}) == 8


def test_a_damaged_cache_file_is_encoded_again(tmp_path):
    cache, encoder = VectorCache(tmp_path), CountingEncoder()
    right = cache.encode(encoder, ["rain"], scenario="qa", role="document")
    (file,) = tmp_path.iterdir()
    for damage in (b"", file.read_bytes()[:-4], b"not numpy"):
        file.write_bytes(damage)
        np.testing.assert_array_equal(cache.encode(encoder, ["rain"], scenario="qa", role="document"), right)
    assert encoder.documents == ["rain"] * 4


def test_an_interrupted_encoding_keeps_the_blocks_that_were_done(tmp_path, monkeypatch):
    monkeypatch.setattr("evals.vector_cache.BLOCK", 2)

    class Interrupted(CountingEncoder):
        def encode_documents(self, texts, scenario="qa", *, show_progress=None):
            if "c" in texts:
                raise KeyboardInterrupt
            return super().encode_documents(texts, scenario)

    with pytest.raises(KeyboardInterrupt):
        VectorCache(tmp_path).encode(Interrupted(), ["a", "b", "c"], scenario="qa", role="document")
    encoder = CountingEncoder()
    assert VectorCache(tmp_path).encode(encoder, ["a", "b", "c"], scenario="qa", role="document").shape == (3, 48)
    assert encoder.documents == ["c"]
