import json

import pytest

from evals.datasets.demonstrations import Example, TaskInfo, read_demonstrations, read_same_task, read_tasks
from evals.errors import DataSetError
from tests.evals.datasets.set_files import write_lines


def row(id_, task, output="good", options=("good", "bad")):
    return {
        "_id": id_,
        "task": task,
        "category": "opinion",
        "input": f"in {id_}",
        "output": output,
        "options": list(options) if options else None,
    }


def write_group(folder, pool, tests):
    write_lines(folder / "pool.seen.jsonl.gz", pool)
    write_lines(folder / "test.seen.jsonl.gz", tests)
    return folder


def read(folder, **options):
    return read_same_task(folder, "seen", scenario="icl", suite="demonstrations", **options)


def test_a_demonstration_is_relevant_if_it_is_of_the_querys_task(tmp_path):
    write_group(tmp_path, [row("p1", "films"), row("p2", "books"), row("p3", "films")], [row("t1", "films", "bad")])
    found = read(tmp_path)
    assert (found.documents[0].id, found.documents[0].text) == ("p1", "in p1\ngood")
    assert [(query.text, query.answers) for query in found.queries] == [("in t1", ("bad",))]
    assert found.qrels == {"t1": {"p1": 1, "p3": 1}}


def test_the_first_250_of_each_pool_and_60_of_each_test_are_taken(tmp_path):
    pool = [row(f"a{n}", "large") for n in range(251)] + [row("b0", "small")]
    tests = [row(f"t{n}", "large") for n in range(61)] + [row("u0", "small")]
    found = read(write_group(tmp_path, pool, tests))
    assert [document.id for document in found.documents] == [*(f"a{n}" for n in range(250)), "b0"]
    assert [query.id for query in found.queries] == [*(f"t{n}" for n in range(60)), "u0"]
    assert len(read(tmp_path, limit=7).queries) == 7


def test_a_smaller_pool_is_shared_out_among_the_tasks(tmp_path):
    pool = [row(f"{task}{n}", task) for task in "abc" for n in range(10)]
    write_group(tmp_path, pool, [row(f"t{task}", task) for task in "abc"])
    assert [document.id for document in read(tmp_path, max_documents=7).documents] == [
        "a0",
        "a1",
        "b0",
        "b1",
        "c0",
        "c1",
    ]
    assert len(read(tmp_path, max_documents=1).documents) == 3


def test_a_test_row_whose_task_has_no_pool_is_counted(tmp_path):
    found = read(write_group(tmp_path, [row("p1", "films")], [row("t1", "films"), row("t2", "music")]))
    assert [query.id for query in found.queries] == ["t1"]
    assert found.num_unlabelled == 1


def test_an_output_that_is_no_option_is_a_problem(tmp_path):
    write_group(tmp_path, [row("p1", "films", "great")], [row("t1", "films")])
    with pytest.raises(DataSetError, match=r"pool\.seen\.jsonl\.gz:1: 'output' is not among 'options'"):
        read(tmp_path)


def test_examples_are_read_as_they_are(tmp_path):
    file = write_lines(tmp_path / "pool.x.jsonl", [row("p1", "films"), row("p2", "films", "free text", None)])
    first, second = read_demonstrations(file)
    assert first == Example(
        id="p1", task="films", category="opinion", input="in p1", output="good", options=("good", "bad")
    )
    assert second.options is None
    with pytest.raises(DataSetError, match=r"no examples: looked in .* for pool\.y\.jsonl"):
        read_demonstrations(tmp_path / "pool.y.jsonl")


def test_tasks_are_read_with_their_group(tmp_path):
    fields = {"category": "opinion", "metric": "accuracy", "instruction": "Good or bad?", "pool": 3}
    groups = {"seen": {"films": {**fields, "labels": ["good", "bad"]}}, "new_task": {"books": fields}}
    (tmp_path / "tasks.json").write_text(json.dumps(groups))
    tasks = read_tasks(tmp_path)
    assert list(tasks) == ["films", "books"]
    assert tasks["films"] == TaskInfo(
        task="films",
        group="seen",
        category="opinion",
        metric="accuracy",
        instruction="Good or bad?",
        labels=("good", "bad"),
    )
    assert tasks["books"].labels == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"seen": []}', '{"seen": {"films": {}}}', '{"seen": {"films": 1}}'])
def test_a_list_of_tasks_of_another_form_is_a_problem(tmp_path, text):
    (tmp_path / "tasks.json").write_text(text)
    with pytest.raises(DataSetError, match=r"tasks\.json: not a list of tasks by group"):
        read_tasks(tmp_path)
