"""End tasks with their data: what a run of many systems and conditions goes through.

A condition is a system, or the name of one that needs none: "none", and where it exists "oracle", "recency" and
"same-task-random".
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from evals.datasets.multiple_choice import Question
from evals.datasets.texts import LongText
from evals.end_task import demonstrations, dialogue_memory, long_text_memory, multiple_choice, open_answers
from evals.end_task.long_text_chunks import PAPER, LongTextSettings, cut
from evals.end_task.result import Advance, EndTaskResult, silent
from evals.end_task.retrieval import (
    judged_texts,
    memory_set,
    retrieve_positions,
    retrieve_texts,
    texts_by_group,
)
from evals.language_model.protocol import LanguageModel
from evals.records import EvaluationSet, Query
from evals.systems import System
from rag_embedder.registry import unknown_name

Condition = str | System


class EndTask(Protocol):
    """One end task on one data set."""

    @property
    def key(self) -> str:
        """The data set's name and split."""
        ...

    @property
    def num_examples(self) -> int:
        """What a bar counts."""
        ...

    @property
    def conditions(self) -> Sequence[str]:
        """Those that need no system, "none" first."""
        ...

    def run(self, lm: LanguageModel, condition: Condition, *, advance: Advance = silent) -> EndTaskResult:
        """Retrieve, then let the model read.

        Raises:
            ConfigError: for a name that is not among `conditions`, or a model that reads too little.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipleChoiceTask:
    """`questions.queries` have the ids and texts of `examples`; its documents are searched."""

    questions: EvaluationSet
    examples: Sequence[Question]
    shots: Mapping[str, Sequence[Question]] = field(default_factory=dict)
    settings: multiple_choice.MultipleChoiceSettings = field(default_factory=multiple_choice.MultipleChoiceSettings)
    conditions: Sequence[str] = ("none",)

    @property
    def key(self) -> str:
        """The data set's name and split."""
        return self.questions.key

    @property
    def num_examples(self) -> int:
        """Questions."""
        return len(self.examples)

    def run(self, lm: LanguageModel, condition: Condition, *, advance: Advance = silent) -> EndTaskResult:
        """See `EndTask`."""
        name = _name(condition, self.conditions)
        found = (
            {} if isinstance(condition, str) else retrieve_texts(condition, self.questions, self.settings.num_passages)
        )
        result = multiple_choice.evaluate(
            lm, self.examples, found, condition=name, settings=self.settings, shots=self.shots, advance=advance
        )
        return replace(result, key=self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAnswersTask:
    """`questions` with their answers and judged passages; `shots` of another split."""

    questions: EvaluationSet
    shots: Sequence[open_answers.OpenQuestion] = ()
    settings: open_answers.OpenAnswerSettings = open_answers.NATURAL_QUESTIONS
    conditions: Sequence[str] = ("none", "oracle")

    @property
    def key(self) -> str:
        """The data set's name and split."""
        return self.questions.key

    @property
    def num_examples(self) -> int:
        """Questions."""
        return len(self.questions.queries)

    def run(self, lm: LanguageModel, condition: Condition, *, advance: Advance = silent) -> EndTaskResult:
        """See `EndTask`; the oracle gives the judged passages, and only those."""
        name = _name(condition, self.conditions)
        found: Mapping[str, Sequence[str]] = {}
        if condition == "oracle":
            found = judged_texts(self.questions, self.settings.num_passages)
        elif not isinstance(condition, str):
            found = retrieve_texts(condition, self.questions, self.settings.num_passages)
        result = open_answers.evaluate(
            lm,
            open_questions(self.questions),
            found,
            condition=name,
            shots=self.shots,
            settings=self.settings,
            advance=advance,
        )
        return replace(result, key=self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueMemoryTask:
    """`questions` about conversations; the documents are the windows of each, in order."""

    questions: EvaluationSet
    settings: dialogue_memory.DialogueSettings = field(default_factory=dialogue_memory.DialogueSettings)
    conditions: Sequence[str] = ("none", "recency", "oracle")

    @property
    def key(self) -> str:
        """The data set's name and split."""
        return self.questions.key

    @property
    def num_examples(self) -> int:
        """Questions."""
        return len(self.questions.queries)

    def run(self, lm: LanguageModel, condition: Condition, *, advance: Advance = silent) -> EndTaskResult:
        """See `EndTask`; the oracle tries every window alone."""
        name = _name(condition, self.conditions)
        groups = texts_by_group(self.questions)
        examples = [
            dialogue_memory.DialogueExample(
                id=query.id, history=groups.get(query.within or "", ()), query=query.text, answers=query.answers
            )
            for query in self.questions.queries
        ]
        found: Mapping[str, Sequence[int]] = {}
        if condition == "recency":
            found = dialogue_memory.recent(examples, self.settings.num_memories)
        elif condition == "oracle":
            found = dialogue_memory.oracle(lm, examples, settings=self.settings)
        elif not isinstance(condition, str):
            found = retrieve_positions(condition, self.questions, self.settings.num_memories)
        result = dialogue_memory.evaluate(lm, examples, found, condition=name, settings=self.settings, advance=advance)
        return replace(result, key=self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongTextTask:
    """Long texts, cut by the language model's own tokens."""

    key: str
    texts: Sequence[LongText]
    settings: LongTextSettings = PAPER
    scenario: str = "lrlm"
    conditions: Sequence[str] = ("none", "recency", "oracle")

    @property
    def num_examples(self) -> int:
        """Texts."""
        return len(self.texts)

    def run(self, lm: LanguageModel, condition: Condition, *, advance: Advance = silent) -> EndTaskResult:
        """See `EndTask`; the oracle tries every chunk alone, which is slow."""
        name = _name(condition, self.conditions)
        chunked, too_short = cut(lm, self.texts, self.settings)
        found: Mapping[str, Sequence[int]] = {}
        if condition == "recency":
            found = long_text_memory.recency(chunked, self.settings.num_retrieved)
        elif condition == "oracle":
            found = long_text_memory.oracle(lm, chunked, settings=self.settings)
        elif not isinstance(condition, str):
            keys = {text.id: long_text_memory.key_texts(lm, text) for text in chunked}
            queries = [
                Query(id=id_, text=content, within=text.id)
                for text in chunked
                for id_, content in long_text_memory.query_texts(lm, text).items()
            ]
            searched = memory_set(keys, queries, name=self.key, scenario=self.scenario)
            found = retrieve_positions(condition, searched, self.settings.num_retrieved)
        result = long_text_memory.evaluate(
            lm, chunked, found, condition=name, settings=self.settings, skipped=too_short, advance=advance
        )
        return replace(result, key=self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationsTask:
    """`pool.queries` have the ids of `examples`; its documents are the demonstrations, judged by their task."""

    pool: EvaluationSet
    examples: Sequence[demonstrations.TaskExample]
    settings: demonstrations.DemonstrationSettings = field(default_factory=demonstrations.DemonstrationSettings)
    conditions: Sequence[str] = ("none", "same-task-random")

    @property
    def key(self) -> str:
        """The data set's name and group."""
        return self.pool.key

    @property
    def num_examples(self) -> int:
        """Inputs."""
        return len(self.examples)

    def run(self, lm: LanguageModel, condition: Condition, *, advance: Advance = silent) -> EndTaskResult:
        """See `EndTask`."""
        name = _name(condition, self.conditions)
        count = self.settings.num_demonstrations
        found: Mapping[str, Sequence[str]] = {}
        if condition == "same-task-random":
            everything = judged_texts(self.pool, len(self.pool.documents))
            found = {id_: random.Random(id_).sample(all_, min(count, len(all_))) for id_, all_ in everything.items()}
        elif not isinstance(condition, str):
            found = retrieve_texts(condition, self.pool, count)
        result = demonstrations.evaluate(
            lm, self.examples, found, condition=name, settings=self.settings, advance=advance
        )
        return replace(result, key=self.key)


def open_questions(evaluation_set: EvaluationSet) -> list[open_answers.OpenQuestion]:
    """The queries that have an answer."""
    return [
        open_answers.OpenQuestion(id=query.id, text=query.text, answers=query.answers)
        for query in evaluation_set.queries
        if any(query.answers)
    ]


def _name(condition: Condition, known: Sequence[str]) -> str:
    if not isinstance(condition, str):
        return condition.name
    if condition not in known:
        raise unknown_name("condition without a system", condition, list(known))
    return condition
