"""The end tasks that a folder of data sets can give; none is read before it is loaded."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from evals.datasets.beir import read_answers
from evals.datasets.conversations import find_documents
from evals.datasets.demonstrations import read_demonstrations, read_tasks
from evals.datasets.known_sets import KNOWN_SETS
from evals.datasets.multiple_choice import read_multiple_choice
from evals.datasets.selection import Selection
from evals.datasets.suites import SetSource, suite_sets
from evals.datasets.texts import read_texts
from evals.datasets.validation import Reading
from evals.end_task.demonstrations import from_rows
from evals.end_task.dialogue_memory import DialogueSettings
from evals.end_task.long_text_chunks import PAPER, LongTextSettings
from evals.end_task.next_turns import read_next_turns
from evals.end_task.open_answers import NATURAL_QUESTIONS, OpenQuestion
from evals.end_task.retrieval import memory_set
from evals.end_task.tasks import (
    DemonstrationsTask,
    DialogueMemoryTask,
    EndTask,
    LongTextTask,
    MultipleChoiceTask,
    OpenAnswersTask,
    open_questions,
)
from evals.records import EvaluationSet, Query
from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name
from rag_embedder.types import Document

ItemT = TypeVar("ItemT")

SUITES = ("knowledge", "memory", "demonstrations")

QUESTIONS = DialogueSettings(current="Question: {query}\nAnswer:", num_memories=3)
"""For questions about a conversation or a story."""

SUMMARY = DialogueSettings(current="Summary: {query}", num_memories=3)
"""For the next sentence of a summary."""

_SHOTS_OF = {"knowledge/hotpotqa": "knowledge/squad"}
"""Sets without a split that may be shown solved, and whose shots they take."""


@dataclass(frozen=True, slots=True)
class EndTaskSource:
    """One end task that has not been read."""

    key: str
    suite: str
    read: Callable[[Selection], EndTask]

    def load(self, selection: Selection | None = None) -> EndTask:
        """Read and check its files.

        Raises:
            DataSetError: with all that is wrong with them.
        """
        return self.read(Selection() if selection is None else selection)


def end_task_sources(data: Path, suite: str = "all", *, long_text: LongTextSettings = PAPER) -> list[EndTaskSource]:
    """The end tasks of a suite, in a fixed order; `long_text` are the lengths of the one that continues texts.

    Raises:
        ConfigError: for an unknown suite.
    """
    if suite not in (*SUITES, "all"):
        raise unknown_name("suite of end tasks", suite, [*SUITES, "all"])
    sources = [
        EndTaskSource("knowledge/mmlu.test", "knowledge", lambda chosen: _mmlu(data, chosen)),
        *(
            EndTaskSource(f"{name}.test", "knowledge", lambda chosen, name=name: _open_answers(data, name, chosen))
            for name in ("knowledge/squad", "knowledge/tydiqa_en", "knowledge/hotpotqa")
        ),
        *(
            EndTaskSource(f"{name}.test", "memory", lambda chosen, name=name: _questions(data, name, chosen))
            for name in ("memory/memorybank_chat", "memory/qmsum", "memory/crd3")
        ),
        EndTaskSource("memory/memorybank_chat.test_next_turn", "memory", lambda chosen: _next_turns(data, chosen)),
        EndTaskSource("memory/squality.test", "memory", lambda chosen: _stories(data, chosen)),
        EndTaskSource("memory/novels.test", "memory", lambda chosen: _novels(data, chosen, long_text)),
        *(
            EndTaskSource(
                f"demos/multitask.{group}",
                "demonstrations",
                lambda chosen, group=group: _demonstrations(data, group, chosen),
            )
            for group in ("seen", "new_task", "new_category")
        ),
    ]
    return [source for source in sources if suite in (source.suite, "all")]


def _mmlu(data: Path, selection: Selection) -> EndTask:
    """Questions of MMLU over the passages of all knowledge sets together: it has none of its own."""
    folder = data / "knowledge" / "mmlu"
    questions = drawn(read_multiple_choice(folder, "test", name="knowledge/mmlu"), selection, "knowledge/mmlu.test")
    documents: list[Document] = []
    for source in {each.name: each for each in suite_sets(data, "knowledge")}.values():
        # Ids are unique within a set only.
        documents += [replace(each, id=f"{source.name}/{each.id}") for each in source.load().documents]
    if selection.max_documents is not None:
        documents = drawn(documents, replace(selection, limit=selection.max_documents), "knowledge/mmlu passages")
    return MultipleChoiceTask(
        questions=EvaluationSet(
            name="knowledge/mmlu",
            split="test",
            scenario="qa",
            suite="knowledge",
            documents=documents,
            queries=[Query(id=question.id, text=question.text) for question in questions],
            qrels={},
        ),
        examples=questions,
    )


def _open_answers(data: Path, name: str, selection: Selection) -> EndTask:
    questions = _known(data, name, "test").load(selection)
    shots = open_questions(_known(data, _SHOTS_OF.get(name, name), "dev").load())
    return OpenAnswersTask(questions=questions, shots=_unlike(shots, questions), settings=NATURAL_QUESTIONS)


def _unlike(shots: Sequence[OpenQuestion], questions: EvaluationSet) -> list[OpenQuestion]:
    """Shots that are not asked in the test too."""
    asked = {" ".join(query.text.casefold().split()) for query in questions.queries}
    return [shot for shot in shots if " ".join(shot.text.casefold().split()) not in asked]


def _questions(data: Path, name: str, selection: Selection) -> EndTask:
    settings = SUMMARY if name == "memory/crd3" else QUESTIONS
    return DialogueMemoryTask(questions=_answered(_known(data, name, "test").load(selection)), settings=settings)


def _next_turns(data: Path, selection: Selection) -> EndTask:
    name = "memory/memorybank_chat"
    questions = read_next_turns(data / name, "test", name=name)
    chosen = drawn(questions.queries, selection, questions.key)
    needed = {query.within for query in chosen}
    documents = [each for each in questions.documents if each.metadata["within"] in needed]
    return DialogueMemoryTask(questions=replace(questions, queries=chosen, documents=documents))


def _stories(data: Path, selection: Selection) -> EndTask:
    """Questions about stories whose chunks are the memories; which of them hold the answer is not labelled."""
    name, folder = "memory/squality", data / "memory" / "squality"
    reading = Reading(f"{name}.test")
    stories = find_documents(reading, folder, "test")
    asked = reading.find(folder, ["queries.test.jsonl.gz", "queries.test.jsonl"], what="queries")
    reading.raise_problems()
    chunks: dict[str, list[str]] = {}
    for row in reading.rows(stories):
        chunks[row.new_id(chunks)] = row.texts("chunks")
    queries: dict[str, Query] = {}
    for row in reading.rows(asked):
        id_, within = row.new_id(queries), row.id("doc_id")
        if within not in chunks:
            row.problem(f"there is no story {within!r}")
        queries[id_] = Query(id=id_, text=row.text("text"), within=within, answers=read_answers(row))
    reading.raise_problems()
    chosen = drawn(list(queries.values()), selection, f"{name}.test")
    needed = {query.within for query in chosen}
    memories = {id_: texts for id_, texts in chunks.items() if id_ in needed}
    questions = memory_set(memories, chosen, name=name, scenario="lrlm")
    return DialogueMemoryTask(
        questions=_answered(replace(questions, split="test", checksum=reading.checksum)), settings=QUESTIONS
    )


def _novels(data: Path, selection: Selection, settings: LongTextSettings) -> EndTask:
    texts = read_texts(data / "memory" / "novels", "test", name="memory/novels")
    return LongTextTask(
        key="memory/novels.test", texts=drawn(texts, selection, "memory/novels.test"), settings=settings
    )


def _demonstrations(data: Path, group: str, selection: Selection) -> EndTask:
    pool = _known(data, "demos/multitask", group).load(selection)
    folder = data / "demos" / "multitask"
    names = [f"test.{group}.jsonl.gz", f"test.{group}.jsonl"]
    file = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
    rows = {row.id: row for row in read_demonstrations(file)}
    examples = from_rows([rows[query.id] for query in pool.queries], read_tasks(folder))
    return DemonstrationsTask(pool=pool, examples=examples)


def drawn(items: Sequence[ItemT], selection: Selection, key: str) -> list[ItemT]:
    """At most `limit` of the items, in their order; a smaller limit draws a part of what a larger one does."""
    order = list(range(len(items)))
    if selection.limit is not None and selection.limit < len(items):
        random.Random(f"examples {key} {selection.seed}").shuffle(order)
    return [items[position] for position in sorted(order[: selection.limit])]


def _answered(questions: EvaluationSet) -> EvaluationSet:
    """Without the questions that have no answer to score."""
    return replace(questions, queries=[query for query in questions.queries if any(query.answers)])


def _known(data: Path, name: str, split: str) -> SetSource:
    specs = [spec for spec in KNOWN_SETS if spec.name == name]
    for spec in specs:
        if split in (*spec.test, *spec.dev):
            return SetSource(
                folder=data / name,
                name=name,
                split=split,
                suite=spec.suite,
                scenario=spec.scenario,
                reader=spec.reader,
                is_zero_shot=spec.is_zero_shot,
            )
    raise ConfigError(f"set {name} has no split {split!r}.")
