"""Worked examples of many tasks: which are of the query's own task, and what the tasks ask for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.datasets.selection import Description, Selection, finish
from evals.datasets.validation import Reading
from evals.records import EvaluationSet, Query
from rag_embedder.types import Demonstration, Document

# One pool holds all tasks of a group: without caps the largest tasks would be found by chance, and decide the mean.
_PER_POOL = 250
_PER_TEST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """What one task asks for. `metric` is "accuracy", "em" or "rouge"; `labels` are its fixed outputs, if it has any.

    `group` is "seen" (its pool may be trained on), "new_task" or "new_category" (never).
    """

    task: str
    group: str
    category: str
    metric: str
    instruction: str
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One input with its right output. `options` are the possible outputs, None for free text and long label lists."""

    id: str
    task: str
    category: str
    input: str
    output: str
    options: Sequence[str] | None = None


def read_demonstrations(file: Path) -> list[Example]:
    """The examples of a file, in its order: `_id`, `task`, `category`, `input`, `output`, `options`.

    Raises:
        DataSetError: with all that is wrong with the file.
    """
    reading = Reading(file.name)
    examples = _examples(reading, reading.find(file.parent, [file.name], what="examples"))
    reading.raise_problems()
    return examples


def read_tasks(folder: Path) -> Mapping[str, TaskInfo]:
    """The tasks of `tasks.json` ({group: {task: {...}}}) by name, in the file's order.

    Raises:
        DataSetError: if it is missing, or not of this form.
    """
    reading = Reading(folder.name)
    file = reading.find(folder, ["tasks.json"], what="list of tasks")
    reading.raise_problems()
    tasks: dict[str, TaskInfo] = {}
    try:
        for group, members in json.loads(file.read_text(encoding="utf-8")).items():
            tasks |= {task: _task(task, group, fields) for task, fields in members.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        reading.problem(f"not a list of tasks by group: {type(error).__name__}", file)
    reading.raise_problems()
    return tasks


def read_same_task(
    folder: Path,
    split: str,
    *,
    scenario: str,
    suite: str,
    name: str | None = None,
    is_zero_shot: bool | None = None,
    limit: int | None = None,
    seed: int = 0,
    max_documents: int | None = None,
) -> EvaluationSet:
    """Read one group of tasks as a set in which a demonstration is relevant if it is of the query's own task.

    Files, each plain or with .gz: `pool.<group>.jsonl`, the demonstrations (encoded as input, newline, output), and
    `test.<group>.jsonl`, the queries (the input alone). The first 250 of each task's pool and 60 of its test rows
    are taken, so that no task outweighs the others. With hundreds of relevant documents to a query, read nDCG and
    Success; recall says little.

    Args:
        folder: where the files lie.
        split: the group.
        scenario: whose instructions the texts get.
        suite: what the report puts the set under.
        name: what results call the set; the folder's name if None.
        is_zero_shot: whether training has not seen the source; None if nobody said.
        limit: at most so many queries, drawn with `seed`.
        seed: for the draw.
        max_documents: about so many demonstrations, shared out evenly among the tasks; at least one for each.

    Raises:
        DataSetError: with all that is wrong with the files.
    """
    name = folder.name if name is None else name
    reading = Reading(f"{name}.{split}")
    pool_file = reading.find(folder, [f"pool.{split}.jsonl.gz", f"pool.{split}.jsonl"], what=f"pool of {split!r}")
    test_file = reading.find(folder, [f"test.{split}.jsonl.gz", f"test.{split}.jsonl"], what=f"tests of {split!r}")
    reading.raise_problems()
    pool, tests = _examples(reading, pool_file), _examples(reading, test_file)
    per_pool = _PER_POOL
    if max_documents is not None:
        per_pool = min(per_pool, max(1, max_documents // max(1, len({example.task for example in pool}))))
    pool, tests = _first_of_each_task(pool, per_pool), _first_of_each_task(tests, _PER_TEST)
    of_task: dict[str, dict[str, int]] = {}
    for example in pool:
        of_task.setdefault(example.task, {})[example.id] = 1
    return finish(
        reading,
        Description(name=name, split=split, scenario=scenario, suite=suite, is_zero_shot=is_zero_shot),
        [Document(Demonstration(example.input, example.output).text, id=example.id) for example in pool],
        [Query(id=example.id, text=example.input, answers=(example.output,)) for example in tests],
        {example.id: of_task.get(example.task, {}) for example in tests},
        Selection(limit=limit, seed=seed),
    )


def _examples(reading: Reading, file: Path) -> list[Example]:
    known: set[str] = set()
    examples = []
    for row in reading.rows(file):
        id_ = row.new_id(known)
        known.add(id_)
        options = None if row.value.get("options") is None else tuple(row.texts("options"))
        example = Example(
            id=id_,
            task=row.text("task", may_be_blank=False),
            category=row.text("category", ""),
            input=row.text("input", may_be_blank=False),
            output=row.text("output"),
            options=options,
        )
        if options is not None and example.output not in options:
            row.problem("'output' is not among 'options'")
        examples.append(example)
    return examples


def _first_of_each_task(examples: Sequence[Example], count: int) -> list[Example]:
    taken: dict[str, int] = {}
    chosen = []
    for example in examples:
        taken[example.task] = taken.get(example.task, 0) + 1
        if taken[example.task] <= count:
            chosen.append(example)
    return chosen


def _task(task: str, group: str, fields: Mapping[str, Any]) -> TaskInfo:
    return TaskInfo(
        task=task,
        group=group,
        category=fields["category"],
        metric=fields["metric"],
        instruction=fields["instruction"],
        labels=tuple(fields.get("labels", ())),
    )
