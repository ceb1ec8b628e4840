"""A run of end tasks on a folder of data, with a model whose numbers are known."""

import gzip
import json
from dataclasses import replace

import pytest

from evals.datasets.selection import Selection
from evals.end_task import measuring
from evals.end_task.measuring import EndTaskPlan, measure_end_tasks, open_language_model
from evals.end_task.result import EndTaskResult
from evals.end_task.table import end_task_table
from evals.errors import DataSetError
from evals.language_model.protocol import Score
from rag_embedder.errors import ConfigError, InputError


class CopyingModel:
    """Finds a continuation likelier the more of its words stand in the context; counts what it is asked."""

    name = fingerprint = "copying"
    max_length = 4096

    def __init__(self):
        self.asked = 0

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def tokenize(self, text):
        return text.split(" ")

    def decode(self, ids):
        return " ".join(ids)

    def log_likelihoods(self, requests, *, max_length=None):
        self.asked += len(requests)
        scores = []
        for request in requests:
            words = str(request.continuation).split()
            known = set(str(request.context).split())
            scores.append(Score(-sum(0.5 if word in known else 2.0 for word in words), len(words), False))
        return scores


@pytest.fixture
def data(tmp_path):
    """One dialogue of two sessions; the reply of the second is said in the first."""
    folder = tmp_path / "data" / "memory" / "memorybank_chat"
    folder.mkdir(parents=True)
    said = [
        ("user", "my cat is called Rufus", 0),
        ("assistant", "what a name", 0),
        ("user", "i live in Oslo", 0),
        ("assistant", "a fine town", 0),
        ("user", "how is my cat called", 1),
        ("assistant", "Rufus", 1),
    ]
    turns = [{"role": role, "content": content, "session": session} for role, content, session in said]
    with gzip.open(folder / "documents.test.jsonl.gz", "wt") as file:
        file.write(json.dumps({"_id": "c", "turns": turns, "windows": [[0, 2], [2, 4], [4, 6]]}) + "\n")
    return tmp_path / "data"


@pytest.fixture
def plan(data, tmp_path, monkeypatch):
    model = CopyingModel()
    monkeypatch.setattr(measuring, "open_language_model", lambda *_, **__: model)
    monkeypatch.setattr(measuring, "end_task_sources", _only_next_turns)
    return (
        EndTaskPlan(
            data=data,
            out=tmp_path / "out",
            lm="copying",
            conditions=["none", "recency", "bm25", "oracle"],
            cache=tmp_path / "cache",
            suite="memory",
            selection=Selection(),
        ),
        model,
    )


def _only_next_turns(data, suite, **_):
    from evals.end_task.sources import end_task_sources

    return [source for source in end_task_sources(data, suite) if source.key.endswith("next_turn")]


def test_conditions_differ_by_what_the_model_could_read(plan):
    chosen, _ = plan
    run = measure_end_tasks(chosen)
    nll = {result.condition: result.summary["nll"] for result in run.results}
    # "Rufus" stands in the first exchange: BM25 finds it by "cat" and "called", the most recent is about Oslo.
    assert nll == {"none": 2.0, "recency": 2.0, "bm25": 0.5, "oracle": 0.5}
    assert run.skipped == {}
    assert json.loads((chosen.out / "end_task.json").read_text())["results"][2]["condition"] == "bm25"


def test_what_was_finished_is_not_asked_again(plan):
    chosen, model = plan
    first = measure_end_tasks(chosen)
    asked = model.asked
    assert asked > 0
    again = measure_end_tasks(chosen)
    assert model.asked == asked
    assert [result.values for result in again.results] == [result.values for result in first.results]
    measure_end_tasks(replace(chosen, conditions=["none", "random"]))
    assert model.asked > asked


def test_another_model_or_other_data_is_asked_again(plan, data):
    chosen, model = plan
    measure_end_tasks(chosen)
    asked = model.asked
    model.fingerprint = "another"
    measure_end_tasks(chosen)
    assert model.asked == 2 * asked
    file = data / "memory" / "memorybank_chat" / "documents.test.jsonl.gz"
    with gzip.open(file, "rt") as lines:
        text = lines.read().replace("Oslo", "Bergen")
    with gzip.open(file, "wt") as lines:
        lines.write(text)
    measure_end_tasks(chosen)
    assert model.asked == 3 * asked


def test_a_task_that_the_model_cannot_do_is_listed_and_the_others_done(plan):
    chosen, model = plan
    first, score = [], model.log_likelihoods

    def refuse_once(requests, *, max_length=None):
        if not first:
            first.append(requests)
            raise InputError("an answer has 575 tokens; expected less than 256.")
        return score(requests, max_length=max_length)

    model.log_likelihoods = refuse_once
    run = measure_end_tasks(chosen)
    assert [result.condition for result in run.results] == ["recency", "bm25", "oracle"]
    assert run.skipped == {
        "memory/memorybank_chat.test_next_turn with none": "an answer has 575 tokens; expected less than 256."
    }


def test_a_condition_that_no_task_has_is_refused(plan):
    with pytest.raises(ConfigError, match="no task has same-task-random"):
        measure_end_tasks(replace(plan[0], conditions=["same-task-random"]))


def test_data_that_are_not_there_are_named(plan, tmp_path):
    with pytest.raises(DataSetError, match="memorybank_chat"):
        measure_end_tasks(replace(plan[0], data=tmp_path / "nowhere"))


def test_a_tokenizer_belongs_to_a_server():
    with pytest.raises(ConfigError, match="expected it with a server's address only"):
        open_language_model("some/model", tokenizer="other/model")


def test_the_table_marks_what_differs_from_no_retrieval():
    def result(condition, values):
        return EndTaskResult(
            task="dialogue-memory",
            key="memory/mine.test",
            condition=condition,
            language_model="lm",
            values={"nll": values},
            summary={"nll": 1.0, "perplexity": 2.5 if condition == "none" else 1.25},
            num_scored_tokens=8,
            seconds=0.1,
        )

    worse = {f"q{number}": 1.0 + number / 10 for number in range(8)}
    better = {id_: value - 0.5 for id_, value in worse.items()}
    assert end_task_table([result("none", worse), result("bm25", better), result("random", worse)]) == (
        "| set | task | figure | n | none | bm25 | random |\n"
        "|---|---|---|---:|---:|---:|---:|\n"
        "| memory/mine.test | dialogue-memory | perplexity (lower is better) | 8 | 2.50 | 1.25 * | 1.25 |"
    )
