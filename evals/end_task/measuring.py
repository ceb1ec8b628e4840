"""A whole run of end tasks: a language model, conditions and systems, over the tasks of a suite; resumable."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evals.datasets.selection import Selection
from evals.end_task.long_text_chunks import PAPER, SMALL
from evals.end_task.result import EndTaskResult
from evals.end_task.sources import end_task_sources
from evals.end_task.tasks import Condition, EndTask
from evals.errors import DataSetError
from evals.language_model import LANGUAGE_MODELS
from evals.language_model.protocol import LanguageModel
from evals.provenance import provenance
from evals.systems.specification import open_system
from evals.vector_cache import VectorCache
from evals.whole_file import write_json
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.registry import unknown_name

FILE = "end_task.json"

PRESETS = {"paper": PAPER, "small": SMALL}
"""Lengths for continuing long texts: 4,096 tokens of input, or what a small model reads on a CPU."""

WITHOUT_SYSTEM = ("none", "recency", "same-task-random")
"""Conditions that need no system; a task that has none of that name leaves it out. So it is with "oracle"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTaskPlan:
    """What a run is asked to do; it is written down with the results.

    `lm` is a folder, a hub id, or the address of an OpenAI-compatible server; `tokenizer` is for a server only.
    """

    data: Path
    out: Path
    lm: str
    conditions: Sequence[str]
    cache: Path
    suite: str = "all"
    selection: Selection = field(default_factory=Selection)
    device: str = "auto"
    tokenizer: str | None = None
    preset: str = "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTaskRun:
    """Everything one run found; `skipped` says which tasks could not be read or done, and why."""

    provenance: Mapping[str, Any]
    arguments: Mapping[str, Any]
    results: Sequence[EndTaskResult]
    skipped: Mapping[str, str]


def measure_end_tasks(plan: EndTaskPlan) -> EndTaskRun:
    """Run a plan; what an earlier run has finished, with the same model, data and systems, is not done again.

    Raises:
        DataSetError: if no task can be read.
        ConfigError, ModelLoadError, LanguageModelError: for a model or system that cannot be opened.
    """
    if plan.preset not in PRESETS:
        raise unknown_name("preset", plan.preset, list(PRESETS))
    tasks, skipped = _read(plan)
    cache = VectorCache(plan.cache)
    conditions: list[Condition] = [
        name if name in (*WITHOUT_SYSTEM, "oracle") else open_system(name, cache=cache, device=plan.device)
        for name in plan.conditions
    ]
    lm = open_language_model(plan.lm, device=plan.device, tokenizer=plan.tokenizer)
    wanted = [(task, condition) for task in tasks for condition in conditions if _has(task, condition)]
    if not wanted:
        raise ConfigError(f"conditions: no task has {', '.join(plan.conditions)}; expected none, or a system.")
    results = []
    with tqdm(total=sum(task.num_examples for task, _ in wanted), desc="asking", unit="example") as bar:
        for task, condition in wanted:
            bar.set_postfix_str(f"{_name(condition)} on {task.key}")
            try:
                results.append(_run_one(plan.out, lm, task, condition, bar))
            except (ConfigError, InputError) as fault:  # this model cannot do this task; others it can
                skipped[f"{task.key} with {_name(condition)}"] = str(fault)
    run = EndTaskRun(
        provenance=provenance(plan.selection.seed), arguments=_arguments(plan), results=results, skipped=skipped
    )
    write_json({"format": 1, **asdict(run)}, plan.out / FILE)
    return run


def open_language_model(text: str, *, device: str = "auto", tokenizer: str | None = None) -> LanguageModel:
    """A local model, or a server if the text is an address."""
    if re.match(r"https?://", text):
        return LANGUAGE_MODELS["server"].load(text, tokenizer=tokenizer)
    if tokenizer is not None:
        raise ConfigError(f"tokenizer: got {tokenizer!r} with a local model; expected it with a server's address only.")
    return LANGUAGE_MODELS["local"].load(text, device=device)


def _read(plan: EndTaskPlan) -> tuple[list[EndTask], dict[str, str]]:
    tasks: list[EndTask] = []
    faults: dict[str, DataSetError] = {}
    for source in end_task_sources(plan.data, plan.suite, long_text=PRESETS[plan.preset]):
        try:
            tasks.append(source.load(plan.selection))
        except DataSetError as fault:
            faults[source.key] = fault
    if not tasks:
        raise next(iter(faults.values()))
    return tasks, {key: str(fault) for key, fault in faults.items()}


def _has(task: EndTask, condition: Condition) -> bool:
    return condition in task.conditions if isinstance(condition, str) else True


def _name(condition: Condition) -> str:
    return condition if isinstance(condition, str) else condition.name


def _run_one(out: Path, lm: LanguageModel, task: EndTask, condition: Condition, bar: Any) -> EndTaskResult:  # noqa: ANN401
    path = out / "end_task" / _slug(task.key) / f"{_slug(_name(condition))}.json"
    system = condition if isinstance(condition, str) else condition.fingerprint
    # The task holds its data and settings: its text stands for all that it depends on.
    identity = hashlib.sha256(json.dumps([lm.fingerprint, system, repr(task)]).encode()).hexdigest()
    known = _known(path, identity)
    if known is not None:
        bar.update(task.num_examples)
        return known
    before = bar.n
    result = task.run(lm, condition, advance=bar.update)
    bar.update(before + task.num_examples - bar.n)  # those that the protocol leaves out
    write_json({"identity": identity, "result": asdict(result)}, path)
    return result


def _known(path: Path, identity: str) -> EndTaskResult | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return EndTaskResult(**content["result"]) if content["identity"] == identity else None
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError):
        return None  # not there, cut off, or of another version: it is made again


def _arguments(plan: EndTaskPlan) -> dict[str, Any]:
    return {**asdict(plan), "data": str(plan.data), "out": str(plan.out), "cache": str(plan.cache)}


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("/", "__")).strip("-.") or "unnamed"
