"""Which queries the page shows, and what it shows of them."""

from dataclasses import replace

import pytest

from evals.report import examples as module
from evals.report.examples import choose_examples, largest_changes, read_rankings
from evals.runner import run_file
from evals.trec import read_run, write_run
from rag_embedder.types import Document, Turn
from tests.evals.report.fake_results import SETS, fake_results, fake_sets, write_fake_runs
from tests.evals.small_sets import weather_set

WEATHER = "knowledge/weather.test"


def weather_results(**values):
    """Results of the systems of `values`, {system: values of q1, q2, q3}."""
    first = fake_results(tuple(values), SETS[:1]).results
    found = [
        replace(
            first[place],
            system=system,
            key=WEATHER,
            values={"nDCG@10": dict(zip(("q1", "q2", "q3"), numbers, strict=True))},
        )
        for place, (system, numbers) in enumerate(values.items())
    ]
    return replace(fake_results(tuple(values), SETS[:1]), results=found)


def test_the_largest_changes_come_first_and_ties_by_id():
    a = {"q1": 0.5, "q2": 0.0, "q3": 0.0, "q4": 1.0, "q5": 0.2}
    b = {"q5": 0.2, "q4": 0.0, "q3": 1.0, "q2": 1.0, "q1": 0.6}
    assert largest_changes(a, b, 5) == ["q2", "q3", "q1", "q4"]
    assert largest_changes(a, b, 1) == ["q2", "q4"]


def test_hits_carry_their_judgements_and_texts(tmp_path):
    results = weather_results(bm25=(0, 0.5, 1), new=(1, 0.5, 0.3))
    write_run({"q1": [("d4", 2.0), ("d1", 1.0)], "q3": [("d3", 1.0)]}, run_file(tmp_path, "bm25", WEATHER), system="x")
    write_run({"q1": [("d1", 2.0)], "q3": []}, run_file(tmp_path, "new", WEATHER), system="x")
    shown = choose_examples(results, tmp_path, {WEATHER: weather_set()}, metric="nDCG@10")[WEATHER]
    assert [query.id for query in shown.queries] == ["q1", "q3"]
    first, last = shown.queries
    assert first.text == "rain oslo"
    assert first.found["bm25"].hits == [("d4", None), ("d1", 1)]
    assert first.found["bm25"].first_relevant == 2
    assert last.found["bm25"].hits == [("d3", 2)]
    assert (last.found["new"].hits, last.found["new"].first_relevant) == ([], None)
    assert shown.documents == {"d1": "Oslo rain falls in oslo", "d3": "snow falls in bergen", "d4": "a cat sleeps"}


def test_without_texts_or_rankings_ids_remain(tmp_path):
    results = weather_results(bm25=(0, 0, 0), new=(1, 0, 0))
    write_run({"q1": [("d1", 1.0)]}, run_file(tmp_path, "bm25", WEATHER), system="x")
    run_file(tmp_path, "new", WEATHER).parent.mkdir(parents=True)
    run_file(tmp_path, "new", WEATHER).write_bytes(b"no gzip file")
    (query,) = choose_examples(results, tmp_path, {}, metric="nDCG@10")[WEATHER].queries
    assert (query.id, query.text) == ("q1", None)
    assert query.found["bm25"].hits == [("d1", None)]
    assert query.found["new"].hits is None


def test_long_texts_are_cut_and_the_last_turns_kept(tmp_path):
    long = replace(
        weather_set(),
        documents=[Document("word " * 100, id="d1")],
        queries=[
            replace(query, text="why " * 400, history=[Turn("user", str(turn)) for turn in range(9)])
            for query in weather_set().queries
        ],
    )
    results = weather_results(bm25=(0, 0, 0), new=(1, 0, 0))
    write_run({"q1": [("d1", 1.0)]}, run_file(tmp_path, "new", WEATHER), system="x")
    shown = choose_examples(results, tmp_path, {WEATHER: long}, metric="nDCG@10")[WEATHER]
    assert len(shown.queries[0].text or "") <= 600
    assert [text for _, text in shown.queries[0].history] == ["5", "6", "7", "8"]
    assert shown.documents["d1"].endswith("word…")
    assert len(shown.documents["d1"]) <= 220


def test_rankings_are_read_as_the_checking_reader_reads_them(tmp_path):
    file = tmp_path / "run.trec.gz"
    run = {"q 1": [("d%20", 3.0), ("a b", 2.0), ("é", 1.0)], "q2": [("x", 1.0)], "100%": [("y", 1.0)]}
    write_run(run, file, system="x")
    whole = read_run(file)
    assert read_rankings(file, {"q 1", "100%"}) == {
        query: [document for document, _ in whole[query]] for query in ("q 1", "100%")
    }


def test_every_pair_of_systems_has_its_examples(tmp_path):
    results = fake_results(("a", "b", "c"), SETS[:1])
    shown = choose_examples(results, tmp_path, {}, metric="RR@10")["tool_retrieval/toole.test_unseen"]
    values = {each.system: each.values["RR@10"] for each in results.results}
    ids = {query.id for query in shown.queries}
    for one, other in [("a", "b"), ("b", "c"), ("c", "a")]:
        assert set(largest_changes(values[one], values[other], shown.per_side)) <= ids


def test_a_set_that_one_system_alone_has_gives_none(tmp_path):
    assert choose_examples(fake_results(("a",), SETS[:2]), tmp_path, {}, metric="nDCG@10") == {}


@pytest.mark.parametrize(("limit", "per_side"), [(10**9, 5), (44_000, 2), (10, None)])
def test_a_full_page_shows_fewer(tmp_path, monkeypatch, limit, per_side):
    results = fake_results(("a", "b", "c"), SETS[:3], num_queries=40)
    sets = fake_sets(results)
    write_fake_runs(results, sets, tmp_path)
    monkeypatch.setattr(module, "_SIZE_LIMIT", limit)
    chosen = choose_examples(results, tmp_path, sets, metric="nDCG@10")
    assert {each.per_side for each in chosen.values()} == ({per_side} if per_side else set())
    for shown in chosen.values():
        hits = {document for query in shown.queries for each in query.found.values() for document, _ in each.hits or ()}
        assert set(shown.documents) == hits
