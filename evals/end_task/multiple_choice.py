"""Multiple choice with retrieved passages: MMLU as LLM-Embedder measures it (arXiv 2310.07554, 4.1).

The model reads passages, question and options, and chooses the letter with the lowest mean NLL.
"""

import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evals.datasets.multiple_choice import Question
from evals.end_task.mmlu_categories import CATEGORIES
from evals.end_task.prompts import fit_knowledge
from evals.end_task.result import Advance, EndTaskResult, Retrieved, average, in_blocks, silent
from evals.language_model.protocol import Continuation, LanguageModel, Score
from rag_embedder.errors import InputError

TASK = "multiple-choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipleChoiceSettings:
    """The paper's: 3 passages, no shots, 2,048 tokens of prompt and option."""

    num_passages: int = 3
    num_shots: int = 0
    budget: int = 2048
    categories: Mapping[str, str] = field(default_factory=lambda: CATEGORIES)


def build_prompt(question: Question, knowledge: str = "", shots: Sequence[Question] = ()) -> str:
    """The whole prompt up to "Answer:"; a letter with a space before it follows."""
    subject = question.subject.replace("_", " ")
    head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    solved = "".join(f"{_block(shot)} {string.ascii_uppercase[shot.answer_index]}\n\n" for shot in shots)
    return (f"Knowledge:\n{knowledge}\n\n" if knowledge else "") + head + solved + _block(question)


def evaluate(
    lm: LanguageModel,
    questions: Sequence[Question],
    retrieved: Retrieved,
    *,
    condition: str,
    settings: MultipleChoiceSettings | None = None,
    shots: Mapping[str, Sequence[Question]] | None = None,
    advance: Advance = silent,
) -> EndTaskResult:
    """Accuracy over all questions (micro), over subjects (macro), by subject and by category.

    Values per question: "accuracy", 0 or 1, and "nll" of the right letter. `shots` are solved questions by subject,
    of another split; the first `num_shots` are shown.

    Raises:
        InputError: if a question has more options than there are letters.
    """
    settings = settings or MultipleChoiceSettings()
    check_options(questions)
    start = time.perf_counter()
    accuracy: dict[str, float] = {}
    nll: dict[str, float] = {}
    tokens = 0
    for block in in_blocks(questions, advance):
        requests = [_requests(lm, question, retrieved, settings, shots or {}) for question in block]
        flat = iter(lm.log_likelihoods([one for each in requests for one in each], max_length=settings.budget))
        for question in block:
            scores: list[Score] = [next(flat) for _ in question.options]
            losses = [score.mean_nll for score in scores]
            accuracy[question.id] = float(losses.index(min(losses)) == question.answer_index)
            nll[question.id] = losses[question.answer_index]
            tokens += sum(score.num_tokens for score in scores)
    by_subject = _means(accuracy, {question.id: question.subject for question in questions})
    return EndTaskResult(
        task=TASK,
        condition=condition,
        language_model=lm.name,
        values={"accuracy": accuracy, "nll": nll},
        summary={
            "accuracy": average(accuracy.values()),
            "accuracy_by_subject": average(by_subject.values()),
            "nll": average(nll.values()),
        },
        breakdown=_breakdown(by_subject, settings.categories),
        num_scored_tokens=tokens,
        seconds=time.perf_counter() - start,
    )


def check_options(questions: Sequence[Question]) -> None:
    """Raise InputError for a question whose options cannot be lettered."""
    for question in questions:
        if not 2 <= len(question.options) <= len(string.ascii_uppercase):
            raise InputError(f"question {question.id} has {len(question.options)} options; expected 2 to 26.")


def _requests(
    lm: LanguageModel,
    question: Question,
    retrieved: Retrieved,
    settings: MultipleChoiceSettings,
    shots: Mapping[str, Sequence[Question]],
) -> list[Continuation]:
    answers = [f" {string.ascii_uppercase[number]}" for number in range(len(question.options))]
    shown = list(shots.get(question.subject, ()))[: settings.num_shots]
    passages = list(retrieved.get(question.id, ()))[: settings.num_passages]
    room = min(settings.budget, lm.max_length) - max(lm.count_tokens(answers))
    prompt = fit_knowledge(lm, passages, lambda knowledge: build_prompt(question, knowledge, shown), room=room)
    return [Continuation(prompt, answer) for answer in answers]


def _block(question: Question) -> str:
    letters = string.ascii_uppercase[: len(question.options)]
    options = "".join(f"{letter}. {text}\n" for letter, text in zip(letters, question.options, strict=True))
    return f"{question.text}\n{options}Answer:"


def _breakdown(by_subject: Mapping[str, float], categories: Mapping[str, str]) -> dict[str, float]:
    by_category = _means(by_subject, {subject: categories.get(subject, "") for subject in by_subject})
    by_category.pop("", None)
    return {
        **{f"category/{name}": value for name, value in by_category.items()},
        **{f"subject/{name}": value for name, value in by_subject.items()},
    }


def _means(values: Mapping[str, float], group_of: Mapping[str, str]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for id_, value in values.items():
        groups.setdefault(group_of[id_], []).append(value)
    return {name: average(members) for name, members in groups.items()}
