"""Questions answered in free text with retrieved passages: PopQA and NQ as LLM-Embedder measures them.

(arXiv 2310.07554, 4.1; PopQA: Mallen et al. 2023.) Few solved examples, greedy decoding to the end of the line.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evals.end_task.answer_metrics import caseless_match, exact_match, substring_match
from evals.end_task.prompts import START_TOKENS, fit_knowledge, num_tokens
from evals.end_task.result import Advance, EndTaskResult, Retrieved, average, in_blocks, silent
from evals.language_model.protocol import LanguageModel
from rag_embedder.errors import InputError

TASK = "open-answers"

METRICS: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "substring_match": substring_match,
    "caseless_match": caseless_match,
    "exact_match": lambda answer, right: exact_match(answer, right, drop_articles=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQuestion:
    """One question with all its right answers. `group` is its relation in PopQA, empty elsewhere."""

    id: str
    text: str
    answers: Sequence[str]
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAnswerSettings:
    """How questions and answers are written, and what there is room for.

    `asked` is filled with {question} and stands last; the answer follows a space. `budget` bounds the prompt.
    """

    asked: str = "Q: {question} A:"
    num_passages: int = 3
    num_shots: int = 15
    max_new_tokens: int = 16
    budget: int = 2048
    seed: int = 0


POPQA = OpenAnswerSettings()
"""15 shots, one for each other relation; the measure is `substring_match`."""

NATURAL_QUESTIONS = OpenAnswerSettings(asked="Question: {question}\nAnswer:", num_shots=10, max_new_tokens=32)
"""10 shots of the dev split; the measure is `exact_match`."""


def draw_shots(
    question: OpenQuestion, pool: Sequence[OpenQuestion], settings: OpenAnswerSettings
) -> list[OpenQuestion]:
    """Solved examples for one question: the same in every run, whatever else is asked.

    Where questions have groups, one of each other group; otherwise any. No more than `num_shots`, in random order.
    """
    rng = random.Random(f"{settings.seed} {question.id}")
    if question.group:
        groups: dict[str, list[OpenQuestion]] = {}
        for shot in pool:
            if shot.group != question.group:
                groups.setdefault(shot.group, []).append(shot)
        pool = [rng.choice(groups[name]) for name in sorted(groups)]
    return rng.sample(list(pool), min(settings.num_shots, len(pool)))


def build_prompt(
    question: OpenQuestion, knowledge: str, shots: Sequence[OpenQuestion], settings: OpenAnswerSettings
) -> str:
    """Knowledge, solved examples, question; blank lines between them."""
    solved = "".join(f"{settings.asked.format(question=shot.text)} {shot.answers[0]}\n\n" for shot in shots)
    return (f"Knowledge: {knowledge}\n\n" if knowledge else "") + solved + settings.asked.format(question=question.text)


def fitted_prompt(
    lm: LanguageModel,
    question: OpenQuestion,
    passages: Sequence[str],
    shots: Sequence[OpenQuestion],
    settings: OpenAnswerSettings,
) -> str:
    """The prompt within the budget: knowledge is cut at its end; if that is not enough, the first shots go."""
    room = min(settings.budget, lm.max_length - settings.max_new_tokens)
    kept = list(shots)
    while kept and num_tokens(lm, build_prompt(question, "", kept, settings)) + START_TOKENS > room:
        kept.pop(0)
    return fit_knowledge(lm, passages, lambda knowledge: build_prompt(question, knowledge, kept, settings), room=room)


def evaluate(
    lm: LanguageModel,
    questions: Sequence[OpenQuestion],
    retrieved: Retrieved,
    *,
    condition: str,
    shots: Sequence[OpenQuestion] = (),
    settings: OpenAnswerSettings = POPQA,
    advance: Advance = silent,
) -> EndTaskResult:
    """Means of `METRICS`, over all questions and by group. `shots` come from another split.

    Raises:
        InputError: if a question is also among the shots, or has no answer.
    """
    check_shots(questions, shots)
    start = time.perf_counter()
    values: dict[str, dict[str, float]] = {name: {} for name in METRICS}
    tokens = 0
    for block in in_blocks(questions, advance):
        prompts = [_prompt(lm, question, retrieved, shots, settings) for question in block]
        written = lm.generate(
            prompts,
            max_new_tokens=settings.max_new_tokens,
            stop=("\n",),
            max_length=settings.budget + settings.max_new_tokens,
        )
        tokens += sum(lm.count_tokens(written))
        for question, answer in zip(block, written, strict=True):
            for name, metric in METRICS.items():
                values[name][question.id] = metric(answer, question.answers)
    return EndTaskResult(
        task=TASK,
        condition=condition,
        language_model=lm.name,
        values=values,
        summary={name: average(each.values()) for name, each in values.items()},
        breakdown=_by_group(questions, values["substring_match"]),
        num_scored_tokens=tokens,
        seconds=time.perf_counter() - start,
    )


def check_shots(questions: Sequence[OpenQuestion], shots: Sequence[OpenQuestion]) -> None:
    """Raise InputError for a test question that is shown solved, or one without an answer."""
    solved = {shot.id for shot in shots} | {" ".join(shot.text.casefold().split()) for shot in shots}
    for question in questions:
        if question.id in solved or " ".join(question.text.casefold().split()) in solved:
            raise InputError(f"question {question.id} is also a solved example; expected shots of another split.")
    for question in [*questions, *shots]:
        if not any(question.answers):
            raise InputError(f"question {question.id} has no answer; expected at least one: leave it out.")


def _prompt(
    lm: LanguageModel,
    question: OpenQuestion,
    retrieved: Retrieved,
    shots: Sequence[OpenQuestion],
    settings: OpenAnswerSettings,
) -> str:
    passages = list(retrieved.get(question.id, ()))[: settings.num_passages]
    return fitted_prompt(lm, question, passages, draw_shots(question, shots, settings), settings)


def _by_group(questions: Sequence[OpenQuestion], values: Mapping[str, float]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for question in questions:
        if question.group:
            groups.setdefault(question.group, []).append(values[question.id])
    return {f"group/{name}": average(members) for name, members in groups.items()}
