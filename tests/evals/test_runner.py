"""Systems on sets: values, files, and what is done again."""

import gzip
import json

import pytest

from evals.records import Seconds
from evals.runner import Runner, run_file
from evals.systems.bm25 import BM25System
from evals.systems.chance import OracleSystem, RandomSystem
from evals.systems.dense import DenseSystem
from evals.trec import read_qrels, read_run
from rag_embedder.errors import ConfigError
from tests.evals.small_sets import CountingEncoder, dialogue_set, memory_set, weather_set


def dense(encoder, name="dense"):
    return DenseSystem(encoder, name=name, settings={})


def test_the_values_of_a_run_worked_by_hand(tmp_path):
    oracle, bm25 = Runner(tmp_path).run([OracleSystem(), BM25System()], [weather_set()])
    assert oracle.values["nDCG@10"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    # q3 "snow falls": d3 has both words; d1 has "falls". Relevance 2 and 1, in that order: the ideal.
    assert bm25.values["nDCG@10"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    assert bm25.values["Recall@5"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    assert bm25.mean("RR@10") == 1.0
    assert (bm25.num_queries, bm25.num_documents, bm25.is_zero_shot, bm25.checksum) == (3, 4, True, "c0ffee")


def test_a_query_without_an_answer_counts_as_zero(tmp_path):
    evaluation_set = weather_set()
    object.__setattr__(evaluation_set.queries[1], "text", "xylophone")
    (result,) = Runner(tmp_path).run([BM25System()], [evaluation_set])
    assert result.values["nDCG@10"]["q2"] == 0.0
    assert result.mean("nDCG@10") == pytest.approx(2 / 3)


def test_results_come_set_by_set_and_are_written_as_trec_files(tmp_path):
    runner = Runner(tmp_path)
    results = runner.run([OracleSystem(), RandomSystem()], [weather_set(), memory_set()])
    assert [(each.key, each.system) for each in results] == [
        ("knowledge/weather.test", "oracle"),
        ("knowledge/weather.test", "random"),
        ("memory/two.test", "oracle"),
        ("memory/two.test", "random"),
    ]
    assert read_qrels(tmp_path / "qrels" / "knowledge__weather.test.qrels") == weather_set().qrels
    run = read_run(run_file(tmp_path, "oracle", "knowledge/weather.test"))
    assert [id_ for id_, _ in run["q3"]][:2] == ["d3", "d1"]
    with gzip.open(run_file(tmp_path, "oracle", "memory/two.test"), "rt") as lines:
        assert next(lines).split()[:4] == ["q1", "Q0", "ann#0", "1"]


def test_what_was_measured_is_not_measured_again(tmp_path):
    first, second = CountingEncoder(), CountingEncoder()
    (measured,) = Runner(tmp_path).run([dense(first)], [weather_set()])
    (reused,) = Runner(tmp_path).run([dense(second)], [weather_set()])
    assert reused.values == measured.values
    assert reused.seconds == Seconds()
    assert len(first.documents) == 4
    assert second.documents == []


@pytest.mark.parametrize("change", ["model", "data", "queries", "scenario", "metrics"])
def test_whatever_changes_the_values_is_measured_again(tmp_path, change):
    Runner(tmp_path).run([dense(CountingEncoder())], [weather_set()])
    encoder = CountingEncoder(salt="other" if change == "model" else "")
    evaluation_set, runner = weather_set(), Runner(tmp_path)
    if change == "data":
        object.__setattr__(evaluation_set, "checksum", "other")
    if change == "queries":
        object.__setattr__(evaluation_set, "queries", evaluation_set.queries[:2])
    if change == "scenario":
        object.__setattr__(evaluation_set, "scenario", "tool")
    if change == "metrics":
        runner = Runner(tmp_path, metrics=("nDCG@10", "P@1"))
    (result,) = runner.run([dense(encoder)], [evaluation_set])
    assert len(encoder.documents) == 4
    assert list(result.values) == list(runner.metrics)


def test_an_interrupted_run_keeps_what_was_done(tmp_path):
    class Interrupted(CountingEncoder):
        def encode_documents(self, texts, scenario="qa", *, show_progress=None):
            if scenario == "convsearch":
                raise KeyboardInterrupt
            return super().encode_documents(texts, scenario)

    sets = [weather_set(), dialogue_set()]
    with pytest.raises(KeyboardInterrupt):
        Runner(tmp_path).run([dense(Interrupted())], sets)
    encoder = CountingEncoder()
    results = Runner(tmp_path).run([dense(encoder)], sets)
    assert len(results) == 2
    assert len(encoder.documents) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b'{"identity": "x"}'])
def test_a_damaged_result_is_made_again(tmp_path, damage):
    Runner(tmp_path).run([BM25System()], [weather_set()])
    file = tmp_path / "results" / "bm25" / "knowledge__weather.test.json"
    before = json.loads(file.read_text())["result"]["values"]
    file.write_bytes(damage)
    (result,) = Runner(tmp_path).run([BM25System()], [weather_set()])
    assert result.values == before


def test_two_systems_that_would_share_a_file_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'a b' and 'a-b' would be written to one file"):
        Runner(tmp_path).run([dense(CountingEncoder(), "a-b"), dense(CountingEncoder(), "a b")], [weather_set()])
