"""In-context learning with retrieved examples: as LLM-R and LLM-Embedder measure it.

(Wang et al. 2023, arXiv 2307.07164; arXiv 2310.07554, 4.1.) Tasks with options: the likeliest one. Others: greedy
decoding to the end of the line.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.datasets.demonstrations import Example, TaskInfo
from evals.end_task.answer_metrics import binary_f1, exact_match, rouge_l
from evals.end_task.prompts import START_TOKENS
from evals.end_task.result import Advance, EndTaskResult, Retrieved, average, in_blocks, silent
from evals.language_model.protocol import Continuation, LanguageModel
from rag_embedder.errors import InputError

TASK = "demonstrations"
METRICS = ("accuracy", "em", "f1", "rouge")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskExample:
    """One input with its right outputs.

    With `options`, the model chooses one, and the first output is the right one; without, it writes. `metric` is
    "accuracy" or "em" (normalised exact match, any output), "rouge" (ROUGE-L with the first output), or "f1" (binary,
    over a whole task with two options, the second being the positive one).
    """

    id: str
    task: str
    category: str
    input: str
    outputs: Sequence[str]
    options: Sequence[str] | None = None
    metric: str = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationSettings:
    """The papers': 8 demonstrations, 1,024 tokens for them and the input, 64 new tokens."""

    num_demonstrations: int = 8
    budget: int = 1024
    max_new_tokens: int = 64


def from_rows(examples: Sequence[Example], tasks: Mapping[str, TaskInfo]) -> list[TaskExample]:
    """Examples as they are read from files, with the fixed labels of their task as options where they have none."""
    return [
        TaskExample(
            id=example.id,
            task=example.task,
            category=example.category,
            input=example.input,
            outputs=(example.output,),
            options=example.options or tasks[example.task].labels or None,
            metric=tasks[example.task].metric,
        )
        for example in examples
    ]


def build_prompt(example: TaskExample, demonstrations: Sequence[str]) -> str:
    """`demonstrations`, best first, in reverse, so that the best is next to the input; every text ends its line."""
    return "".join(f"{text}\n" for text in [*demonstrations[::-1], _collapsed(example.input)])


def fitting(
    lm: LanguageModel,
    example: TaskExample,
    demonstrations: Sequence[str],
    *,
    room: int,
    settings: DemonstrationSettings,
) -> list[str]:
    """The best demonstrations that fit with the input into `room` tokens: the worst go first, whole."""
    texts = [_collapsed(text) for text in demonstrations[: settings.num_demonstrations]]
    counts = lm.count_tokens([f"{text}\n" for text in [_collapsed(example.input), *texts]])
    used = counts[0] + START_TOKENS
    kept = []
    for text, count in zip(texts, counts[1:], strict=True):
        used += count
        if used > room:
            break
        kept.append(text)
    return kept


def evaluate(
    lm: LanguageModel,
    examples: Sequence[TaskExample],
    retrieved: Retrieved,
    *,
    condition: str,
    settings: DemonstrationSettings | None = None,
    advance: Advance = silent,
) -> EndTaskResult:
    """The mean over tasks of each task's own metric; in the breakdown, tasks, and categories as means of their tasks.

    Values per example: "score" by its task's metric (for "f1", whether the choice was right), and for examples with
    options "nll", of the right one.

    Raises:
        InputError: for an unknown metric, or an output that is not among the options.
    """
    settings = settings or DemonstrationSettings()
    check_examples(examples)
    start = time.perf_counter()
    outcome = _Outcome({}, {}, {}, [0])
    for block in in_blocks(examples, advance):
        _choose(lm, [example for example in block if example.options], retrieved, settings, outcome)
        _write(lm, [example for example in block if not example.options], retrieved, settings, outcome)
    by_task = _by_task(examples, outcome)
    by_category: dict[str, list[float]] = {}
    for task, category in {example.task: example.category for example in examples}.items():
        by_category.setdefault(category, []).append(by_task[task])
    return EndTaskResult(
        task=TASK,
        condition=condition,
        language_model=lm.name,
        values={"score": outcome.scores, **({"nll": outcome.nll} if outcome.nll else {})},
        summary={"score": average(by_task.values())},
        breakdown={
            **{f"category/{name}": average(members) for name, members in by_category.items()},
            **{f"task/{name}": value for name, value in by_task.items()},
        },
        num_scored_tokens=outcome.num_tokens[0],
        seconds=time.perf_counter() - start,
    )


def check_examples(examples: Sequence[TaskExample]) -> None:
    """Raise before anything is scored; errors as for `evaluate`."""
    for example in examples:
        if example.metric not in METRICS:
            raise InputError(f"example {example.id}: metric {example.metric!r}; expected one of {', '.join(METRICS)}.")
        if not example.outputs or (example.options and example.outputs[0] not in example.options):
            raise InputError(f"example {example.id}: expected an output, which is among the options if there are any.")
        if example.metric == "f1" and len(example.options or ()) != 2:
            raise InputError(f"example {example.id}: binary F1 needs two options.")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Filled block by block: score, NLL of the right option and chosen option by example, and the tokens scored."""

    scores: dict[str, float]
    nll: dict[str, float]
    chosen: dict[str, int]
    num_tokens: list[int]


def _choose(
    lm: LanguageModel,
    examples: Sequence[TaskExample],
    retrieved: Retrieved,
    settings: DemonstrationSettings,
    outcome: _Outcome,
) -> None:
    requests: list[Continuation] = []
    for example in examples:
        options = [f" {_collapsed(option)}" for option in example.options or ()]
        room = min(settings.budget, lm.max_length - max(lm.count_tokens(options)))
        shown = fitting(lm, example, retrieved.get(example.id, ()), room=room, settings=settings)
        prompt = build_prompt(example, shown)
        requests += [Continuation(prompt, option) for option in options]
    scores = iter(lm.log_likelihoods(requests))
    for example in examples:
        found = [next(scores) for _ in example.options or ()]
        losses = [score.mean_nll for score in found]
        right = list(example.options or ()).index(example.outputs[0])
        outcome.chosen[example.id] = losses.index(min(losses))
        outcome.scores[example.id] = float(outcome.chosen[example.id] == right)
        outcome.nll[example.id] = losses[right]
        outcome.num_tokens[0] += sum(score.num_tokens for score in found)


def _write(
    lm: LanguageModel,
    examples: Sequence[TaskExample],
    retrieved: Retrieved,
    settings: DemonstrationSettings,
    outcome: _Outcome,
) -> None:
    room = min(settings.budget, lm.max_length - settings.max_new_tokens)
    prompts = [
        build_prompt(example, fitting(lm, example, retrieved.get(example.id, ()), room=room, settings=settings))
        for example in examples
    ]
    written = lm.generate(prompts, max_new_tokens=settings.max_new_tokens, stop=("\n",))
    outcome.num_tokens[0] += sum(lm.count_tokens(written))
    for example, text in zip(examples, written, strict=True):
        right = [_collapsed(output) for output in example.outputs]
        answer = text.strip()
        is_rouge = example.metric == "rouge"
        outcome.scores[example.id] = rouge_l(answer, right[0]) if is_rouge else exact_match(answer, right)


def _by_task(examples: Sequence[TaskExample], outcome: _Outcome) -> dict[str, float]:
    members: dict[str, list[TaskExample]] = {}
    for example in examples:
        members.setdefault(example.task, []).append(example)
    return {task: _task_score(group, outcome) for task, group in members.items()}


def _task_score(group: Sequence[TaskExample], outcome: _Outcome) -> float:
    if group[0].metric != "f1":
        return average(outcome.scores[example.id] for example in group)
    right = [list(example.options or ()).index(example.outputs[0]) for example in group]
    return binary_f1([outcome.chosen[example.id] for example in group], right)


def _collapsed(text: str) -> str:
    return re.sub(" +", " ", text)
