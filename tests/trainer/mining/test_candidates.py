"""The candidates of one query, from rankings written by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.records import EvaluationSet, Query
from rag_embedder.types import Document
from trainer.examples import Candidate
from trainer.mining.candidates import CandidateChoice, interleaved, normalised
from trainer.mining.queries import TrainingQueries

TEXTS = {
    "p1": "Oslo is the capital of Norway.",
    "p2": "The capital of Norway: Oslo.",
    "same": "oslo  is the capital\nof NORWAY.",
    "n1": "Bergen is rainy.",
    "n2": "Trondheim has a cathedral.",
    "n3": "\uff2f\uff33\uff2c\uff2f has a tram.",
    "copy": "bergen is  rainy.",
    "empty": " ",
}


def queries(qrels=None, answers=("Oslo",), texts=TEXTS, within=None, **options):
    documents = EvaluationSet(
        name="cities",
        split="train",
        scenario="qa",
        suite="knowledge",
        documents=[
            Document(text, id=id_, metadata={} if within is None else {"within": within[id_]})
            for id_, text in texts.items()
        ],
        queries=[Query(id="q", text="capital?", answers=answers, within=None if within is None else within["q"])],
        qrels={"q": {"p1": 1} if qrels is None else qrels},
    )
    return TrainingQueries(documents=documents, **options)


def chosen(given, *rankings, k=10, **options):
    choice = CandidateChoice(given, k=k, **options)
    found = choice.choose(given.documents.queries[0], [[(id_, 1.0) for id_ in ids] for ids in rankings])
    return [(candidate.id, candidate.label) for candidate in found]


def test_union_best_of_each_first():
    rankings = [[("a", 3.0), ("b", 2.0), ("c", 1.0)], [("b", 9.0), ("d", 8.0)], []]
    assert list(interleaved(rankings)) == ["a", "b", "d", "c"]
    assert list(interleaved([])) == []


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), max_size=4))
def test_the_union_holds_each_once_and_none_stands_behind_one_that_is_worse_everywhere(rankings):
    merged = list(interleaved([[(id_, 0.0) for id_ in ranking] for ranking in rankings]))
    assert sorted(merged) == sorted({id_ for ranking in rankings for id_ in ranking})
    best = {id_: min(ranking.index(id_) for ranking in rankings if id_ in ranking) for id_ in merged}
    assert [best[id_] for id_ in merged] == sorted(best.values())


def test_positives_first_and_no_text_twice():
    # "same" is p1 but for case and white space, "copy" is n1; the blank one is no candidate
    found = chosen(queries(), ["n1", "same", "p1", "empty", "n2"], ["copy", "n2", "n3"])
    assert found == [("p1", 1), ("n1", 0), ("n2", 0), ("n3", 0)]


def test_positives_by_falling_judgement_and_not_found_ones_too():
    assert chosen(queries({"p1": 1, "p2": 2, "n1": 0}), ["n2", "n1"]) == [("p2", 2), ("p1", 1), ("n2", 0), ("n1", 0)]


def test_a_positive_with_the_text_of_another_is_neither_positive_nor_negative():
    assert chosen(queries({"p1": 1, "same": 1}), ["same", "n1"]) == [("p1", 1), ("n1", 0)]


def test_k_counts_what_is_no_known_positive():
    assert chosen(queries({"p1": 1, "p2": 1}), ["n1", "p1", "n2", "n3"], k=2) == [
        ("p1", 1),
        ("p2", 1),
        ("n1", 0),
        ("n2", 0),
    ]


def test_candidates_that_hold_an_answer_are_left_out_if_asked():
    rankings = ["n3", "p2", "n1"]
    assert chosen(queries(), rankings) == [("p1", 1), ("n3", 0), ("p2", 0), ("n1", 0)]
    assert chosen(queries(), rankings, skip_answers=True) == [("p1", 1), ("n1", 0)]
    # one answer of several is enough, a blank one holds nothing
    several = queries(answers=("", "  ", "rainy"))
    assert chosen(several, rankings, skip_answers=True) == [("p1", 1), ("n3", 0), ("p2", 0)]


def test_what_is_hidden_is_left_out_with_its_copies():
    given = queries({}, hidden={"q": frozenset(["n1"])})
    assert chosen(given, ["n1", "copy", "n2"]) == [("n2", 0)]
    # even where it is judged relevant
    assert chosen(queries({"n1": 1, "p1": 1}, hidden={"q": frozenset(["n1"])}), ["copy"]) == [("p1", 1)]


def test_titles_are_part_of_the_text():
    documents = [Document("a town", id="a", title="Oslo"), Document("a town", id="b", title="Bergen")]
    found = EvaluationSet(
        name="x",
        split="train",
        scenario="qa",
        suite="x",
        documents=documents,
        queries=[Query(id="q", text="?")],
        qrels={"q": {"a": 1}},
    )
    choice = CandidateChoice(TrainingQueries(documents=found, continuations={"b": "more"}), k=5)
    assert choice.choose(found.queries[0], [[("b", 1.0)]]) == [
        Candidate(id="a", text="Oslo a town", label=1),
        Candidate(id="b", text="Bergen a town", continuation="more"),
    ]


def test_the_own_text_is_taken_to_its_end():
    within = dict.fromkeys(TEXTS, "other") | {"p1": "mine", "n1": "mine", "n2": "mine", "q": "mine"}
    assert chosen(queries(within=within), ["n2"]) == [("p1", 1), ("n2", 0), ("n1", 0)]
    assert chosen(queries(within=within), ["n2"], k=1) == [("p1", 1), ("n2", 0)]


def test_the_own_task_is_labelled_and_leaves_room():
    texts = {name: f"text {name}" for name in ("a1", "a2", "a3", "b1", "b2", "b3")}
    tasks = {name: name[0] for name in texts} | {"q": "a"}
    given = queries({}, texts=texts, tasks=tasks)
    assert chosen(given, ["b1", "a1", "a2", "a3", "b2", "b3"], k=4) == [("a1", 1), ("a2", 1), ("b1", 0), ("b2", 0)]
    assert chosen(given, ["a1", "a2"], k=4) == [("a1", 1), ("a2", 1)]


@pytest.mark.parametrize("seed", range(3))
def test_candidates_are_what_a_loop_over_all_pairs_leaves(seed):
    chance = np.random.default_rng(seed)
    texts = {f"d{n}": f"{'Word' if n % 2 else 'word'} {chance.integers(12)}" for n in range(40)}
    qrels = {"d0": 1, "d7": 1}
    rankings = [[f"d{n}" for n in chance.permutation(40)[:20]] for _ in range(2)]
    expected = ["d0"] + (["d7"] if normalised(texts["d7"]) != normalised(texts["d0"]) else [])
    for depth in range(20):
        for ranking in rankings:
            id_ = ranking[depth]
            if id_ not in qrels and all(
                texts[id_].lower().split() != texts[other].lower().split() for other in expected
            ):
                expected.append(id_)
    assert [id_ for id_, _ in chosen(queries(qrels, texts=texts), *rankings, k=50)] == expected
