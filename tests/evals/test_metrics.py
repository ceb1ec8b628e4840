import math
import random

import hypothesis.strategies as st
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings

from evals.errors import RunError
from evals.metrics import METRICS, evaluate_run, strictly_ordered
from rag_embedder.errors import ConfigError


def ranking(*documents):
    return [(document, float(len(documents) - rank)) for rank, document in enumerate(documents)]


def value(metric, run, qrels):
    return evaluate_run({"q": run}, {"q": qrels}, [metric])[metric]["q"]


def gain(rank, relevance=1):
    return relevance / math.log2(rank + 1)


def test_several_relevant_documents_by_hand():
    run, qrels = ranking("x", "a", "y", "b", "z"), {"a": 1, "b": 1, "c": 1}
    ideal = gain(1) + gain(2) + gain(3)
    expected = {
        "nDCG@1": 0.0,
        "nDCG@3": gain(2) / ideal,
        "nDCG@5": (gain(2) + gain(4)) / ideal,
        "nDCG@10": (gain(2) + gain(4)) / ideal,
        "Recall@5": 2 / 3,
        "Recall@10": 2 / 3,
        "Recall@100": 2 / 3,
        "RR@10": 1 / 2,
        "Success@5": 1.0,
    }
    values = evaluate_run({"q": run}, {"q": qrels})
    assert list(values) == list(METRICS)
    for metric, of_query in values.items():
        assert of_query["q"] == pytest.approx(expected[metric], abs=1e-9), metric


def test_gain_is_linear_in_the_judgement():
    expected = (gain(1, 1) + gain(2, 3)) / (gain(1, 3) + gain(2, 1))
    assert value("nDCG@10", ranking("low", "high"), {"low": 1, "high": 3}) == pytest.approx(expected)


def test_ndcg_at_k_is_against_the_best_that_k_places_hold():
    qrels = {f"d{n}": 1 for n in range(20)}
    assert value("nDCG@10", ranking(*list(qrels)[:10]), qrels) == pytest.approx(1.0)
    assert value("nDCG@3", ranking("d0", "x", "d1"), qrels) == pytest.approx(
        (gain(1) + gain(3)) / (gain(1) + gain(2) + gain(3))
    )


def test_recall_at_k_is_over_all_relevant_documents():
    qrels = {f"d{n}": 1 for n in range(20)}
    assert value("Recall@5", ranking(*qrels), qrels) == pytest.approx(5 / 20)


def test_the_reciprocal_rank_ends_at_its_cutoff():
    others = [f"x{n:02}" for n in range(10)]
    assert value("RR@10", ranking(*others[:9], "a"), {"a": 1}) == pytest.approx(1 / 10)
    assert value("RR@10", ranking(*others, "a"), {"a": 1}) == 0.0
    assert value("RR", ranking(*others, "a"), {"a": 1}) == pytest.approx(1 / 11)


def test_success_is_whether_any_relevant_document_is_there():
    others = ["v", "w", "x", "y", "z"]
    assert value("Success@5", ranking(*others[:4], "a"), {"a": 1}) == 1.0
    assert value("Success@5", ranking(*others, "a"), {"a": 1}) == 0.0


def test_queries_without_results_count_as_zero_and_unjudged_ones_not_at_all():
    run = {"answered": ranking("a"), "empty": [], "unjudged": ranking("a")}
    values = evaluate_run(run, {"missing": {"a": 1}, "answered": {"a": 1}, "empty": {"a": 1}})
    for of_query in values.values():
        assert of_query == {"missing": 0.0, "answered": 1.0, "empty": 0.0}
        assert list(of_query) == ["missing", "answered", "empty"]


def test_an_empty_run_is_all_zero():
    assert evaluate_run({}, {"q": {"a": 1}}, ["nDCG@10"]) == {"nDCG@10": {"q": 0.0}}


def test_a_judgement_below_zero_is_like_none():
    assert value("nDCG@10", ranking("spam", "a"), {"spam": -2, "a": 1}) == pytest.approx(gain(2))


def test_ties_are_broken_by_id_whatever_order_they_came_in():
    for order in (["b", "a", "c"], ["c", "b", "a"], ["a", "b", "c"]):
        run = [(document, 0.5) for document in order]
        assert [value("RR@10", run, {document: 1}) for document in "abc"] == pytest.approx([1, 1 / 2, 1 / 3])


def test_scores_that_single_precision_cannot_tell_apart_keep_their_order():
    run = [("z", 1.0 + 1e-12), ("a", 1.0)]
    assert value("RR@10", run, {"z": 1}) == 1.0


def test_a_strict_ranking_keeps_its_scores():
    assert strictly_ordered({"q": [("a", 0.25), ("b", 2.0)]}) == {"q": [("b", 2.0), ("a", 0.25)]}


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1e300])
def test_scores_that_are_not_finite_are_refused(score):
    with pytest.raises(RunError, match="query 'q', document 'b'"):
        evaluate_run({"q": [("a", 1.0), ("b", score)]}, {"q": {"a": 1}})


def test_a_document_that_is_twice_in_a_ranking_is_refused():
    with pytest.raises(RunError, match="query 'q': a document is twice"):
        evaluate_run({"q": [("a", 1.0), ("a", 0.5)]}, {"q": {"a": 1}})


@pytest.mark.parametrize("metric", ["nonsense", "nDCG@", "alpha_nDCG@10", "nDCG@10; print()", ""])
def test_a_metric_that_is_none_is_refused(metric):
    with pytest.raises(ConfigError, match="metric"):
        evaluate_run({}, {"q": {"a": 1}}, [metric])


SCORES = st.one_of(st.floats(-3, 3, width=32), st.sampled_from([0.0, 0.5, 1.0, 1e-40, -1e-40]), st.floats(-1e38, 1e38))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), SCORES, max_size=40))
def test_every_ranking_becomes_strict_even_in_single_precision(scores):
    (ordered,) = strictly_ordered({"q": list(scores.items())}).values()
    assert sorted(scores.items(), key=lambda hit: (-hit[1], hit[0])) == [(d, scores[d]) for d, _ in ordered]
    singles = np.array([score for _, score in ordered], dtype=np.float32)
    assert np.all(np.diff(singles) < 0)
    assert strictly_ordered({"q": ordered}) == {"q": ordered}


RELEVANCE = st.dictionaries(st.integers(0, 60).map(str), st.integers(0, 3), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from("pqrst"), RELEVANCE, min_size=1),
    st.randoms(use_true_random=False),
    st.integers(0, 60),
)
def test_values_equal_those_of_pytrec_eval(qrels, generator: random.Random, depth):
    run = {}
    for query in qrels:
        documents = generator.sample(range(61), depth)
        run[query] = [(str(document), float(score)) for document, score in zip(documents, range(depth), strict=True)]
    names = {"nDCG@1": "ndcg_cut_1", "nDCG@3": "ndcg_cut_3", "nDCG@5": "ndcg_cut_5", "nDCG@10": "ndcg_cut_10"}
    names |= {"Recall@5": "recall_5", "Recall@10": "recall_10", "Recall@100": "recall_100", "Success@5": "success_5"}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, set(names.values()) | {"recip_rank"})
    expected = evaluator.evaluate({query: dict(ranked) for query, ranked in run.items() if ranked})
    values = evaluate_run(run, qrels)
    for query in qrels:
        theirs = expected.get(query, {})
        for ours, name in names.items():
            assert values[ours][query] == theirs.get(name, 0.0)
        reciprocal = theirs.get("recip_rank", 0.0)
        assert values["RR@10"][query] == (reciprocal if reciprocal >= 0.1 else 0.0)
