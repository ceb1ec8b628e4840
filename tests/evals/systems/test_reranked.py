"""Two stages as one system: order by hand, what is read, costs, fingerprints."""

import numpy as np
import pytest

from evals.systems.bm25 import BM25System
from evals.systems.dense import DenseSystem
from evals.systems.reranked import RerankedSystem
from evals.systems.specification import open_system
from evals.systems.texts import document_text, query_text
from rag_embedder import Reranker
from rag_embedder.errors import ConfigError
from tests.evals.small_sets import CountingEncoder, dialogue_set, memory_set, weather_set
from tests.tiny_rerankers import write_cross_encoder, write_decoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cross_encoder(tmp_path_factory.mktemp("model") / "reranker")


@pytest.fixture(scope="module")
def reranker(folder):
    return Reranker.load(folder)


def dense():
    return DenseSystem(CountingEncoder(), name="dense", settings={})


def search(system, evaluation_set, k=10):
    return system.index(evaluation_set).search(evaluation_set.queries, k)


@pytest.mark.parametrize("make_set", [weather_set, dialogue_set, memory_set])
def test_it_is_the_first_stage_ordered_by_hand(make_set, reranker):
    evaluation_set = make_set()
    texts = {document.id: document_text(document) for document in evaluation_set.documents}
    first = search(dense(), evaluation_set)
    found = search(RerankedSystem(dense(), reranker), evaluation_set)
    for query, before, after in zip(evaluation_set.queries, first, found, strict=True):
        asked = query_text(query, evaluation_set.scenario)
        scores = {id_: reranker.score(asked, [texts[id_]])[0] for id_, _ in before}
        assert dict(after) == pytest.approx(scores, abs=1e-5)
        assert [score for _, score in after] == sorted((score for _, score in after), reverse=True)


def test_beyond_the_depth_the_order_stays_and_scores_fall(reranker):
    evaluation_set = weather_set()
    first = [id_ for id_, _ in search(dense(), evaluation_set)[2]]
    (found,) = [search(RerankedSystem(dense(), reranker, depth=2), evaluation_set)[2]]
    assert {id_ for id_, _ in found[:2]} == set(first[:2])
    assert [id_ for id_, _ in found[2:]] == first[2:]
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[2:] == [scores[1] - 1, scores[1] - 2]
    assert len(search(RerankedSystem(dense(), reranker, depth=4), evaluation_set, k=1)[2]) == 1


def test_its_time_is_searching_and_its_index_the_first_stages(reranker):
    evaluation_set = weather_set()
    index = RerankedSystem(BM25System(), reranker).index(evaluation_set)
    before = index.seconds["searching"]
    index.search(evaluation_set.queries, 10)
    assert index.seconds["searching"] > before
    assert set(index.seconds) == {"indexing", "searching"}
    assert index.num_bytes == BM25System().index(evaluation_set).num_bytes


def test_a_dialogue_is_shortened_to_what_the_reranker_reads(folder):
    short = Reranker.load(folder, max_length=16)
    asked = []
    short._score = lambda pairs: (asked.extend(pairs), np.zeros(len(pairs)))[1]
    evaluation_set = dialogue_set()
    search(RerankedSystem(dense(), short), evaluation_set)
    assert asked
    assert all(short.leaves_room(text) for text, _ in asked)
    whole = [query_text(query, "convsearch") for query in evaluation_set.queries]
    assert any(text not in whole for text, _ in asked)


def test_a_specification_names_both_stages_and_settings(folder, tmp_path):
    system = open_system(f"rerank:{folder}:bm25")
    assert system.name == f"rerank:{folder}:bm25"
    assert system.describe()["reranked"] == "100"
    assert system.describe()["kind"] == "BM25, Lucene's variant, then a reranker"
    decoder = write_decoder(tmp_path / "decoder")
    other = open_system(f"two=rerank:{decoder}?depth=7&max_length=64&template=rankllama:bm25")
    assert other.name == "two"
    assert other.describe()["reranked"] == "7"
    assert other.describe()["reranker"] == "decoder, template rankllama, 64 tokens, float32"
    fingerprints = {
        open_system(text).fingerprint
        for text in (
            "bm25",
            f"rerank:{folder}:bm25",
            f"rerank:{folder}?depth=5:bm25",
            f"rerank:{folder}?max_length=32:bm25",
            f"rerank:{folder}:random",
        )
    }
    assert len(fingerprints) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rerank:folder", "expected rerank:RERANKER:SPEC"),
        ("rerank::bm25", "expected rerank:RERANKER:SPEC"),
        ("rerank:folder?deepth=3:bm25", "unknown option of a reranker 'deepth'.*Did you mean 'depth'"),
        ("rerank:{folder}?depth=0:bm25", "depth: got '0'; expected a number, 1 or more"),
        ("rerank:{folder}?max_length=x:bm25", "max_length: got 'x'"),
    ],
)
def test_a_mistake_is_named(folder, text, message):
    with pytest.raises(ConfigError, match=message):
        open_system(text.format(folder=folder))
