"""A whole run: steps, log, evaluation with early stopping, checkpoints; continued, it equals an uninterrupted one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from trainer.checkpoint import load_latest, save
from trainer.dev_metrics import evaluate_dev, mean_by_scenario
from trainer.dev_values import write_dev_values
from trainer.distributed import mean_over_ranks, rank, world_size
from trainer.gradient_average import wait_for_all
from trainer.runlog import RunLog
from trainer.settings import Recipe
from trainer.steps import Stepper, StepResult

CHECKPOINTS = "checkpoints"
BEST = "best"


@dataclass(slots=True)
class Progress:
    """What a run knows of itself besides the weights: it is saved with every checkpoint.

    `first` and `last` are the mean losses of the first and the last few steps of each data set; `metrics` by scenario
    are those of the last evaluation.
    """

    best: float = -math.inf
    best_step: int = 0
    worse_in_row: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    base_metrics: dict[str, float] = field(default_factory=dict)
    losses: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @property
    def fall(self) -> Mapping[str, tuple[float, float]]:
        """By data set: mean loss of its first and of its last steps, up to `_WINDOW` each."""
        return {name: (fmean(seen["first"]), fmean(seen["last"])) for name, seen in self.losses.items()}

    def observe(self, result: StepResult) -> None:
        """Take in the loss of a step."""
        seen = self.losses.setdefault(result.dataset, {"first": [], "last": []})
        if len(seen["first"]) < _WINDOW:
            seen["first"].append(result.loss)
        seen["last"] = [*seen["last"], result.loss][-_WINDOW:]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in self.__slots__}


_WINDOW = 5


def run_fit(
    stepper: Stepper,
    *,
    resume: bool = False,
    on_step: Callable[[StepResult], None] = lambda _: None,
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda *_: None,
) -> Progress:
    """Train to the last step of the recipe, or until the dev metrics stop rising.

    Writes into the recipe's `train.out`: log.jsonl, checkpoints/step-*, best/step-*, the best evaluated weights, and
    dev/step-*.json, the value of every dev query.
    All processes call it together; the first one writes. `resume` continues from the last checkpoint, if there is one.

    Raises:
        NonFiniteError: if a loss or a gradient is no number.
        InputError: if the checkpoint cannot be read or belongs to another base.
    """
    recipe, progress = stepper.recipe, Progress()
    out = Path(recipe.train.out)
    state = load_latest(out / CHECKPOINTS) if resume else None
    if state is not None:
        progress = Progress(**state["progress"])
        stepper.load_state_dict(state)
    log = RunLog(out, step=stepper.step) if rank() == 0 else None
    try:
        if recipe.train.eval_every and stepper.step == 0:
            progress.base_metrics = _evaluate(stepper, progress, log, on_metrics)
        while stepper.step < recipe.train.steps and not _is_over(recipe, progress):
            result = stepper.run()
            progress.observe(result)
            _log_step(log, recipe, result)
            on_step(result)
            _after_step(stepper, progress, log, on_metrics)
    finally:
        stepper.close()
        if log:
            log.close()
    return progress


def _after_step(
    stepper: Stepper, progress: Progress, log: RunLog | None, on_metrics: Callable[[int, Mapping[str, float]], None]
) -> None:
    train = stepper.recipe.train
    is_last = stepper.step == train.steps
    if train.eval_every and (is_last or stepper.step % train.eval_every == 0):
        _evaluate(stepper, progress, log, on_metrics)
    is_over = is_last or _is_over(stepper.recipe, progress)
    if is_over or (train.save_every and stepper.step % train.save_every == 0):
        _save(stepper, progress, Path(train.out) / CHECKPOINTS, keep=train.keep)


def _evaluate(
    stepper: Stepper, progress: Progress, log: RunLog | None, on_metrics: Callable[[int, Mapping[str, float]], None]
) -> dict[str, float]:
    """Measure the dev splits with the averaged weights, if there are some; the first process does it for all."""
    metrics: dict[str, float] = {}
    with stepper.averaged_weights():
        if log:
            values = evaluate_dev(stepper.kind, stepper.training_sets)
            by_set = {name: fmean(each.values()) for name, each in values.items()}
            metrics = mean_by_scenario(by_set, stepper.training_sets)
            log.write("eval", stepper.step, metrics | {"mean": fmean(metrics.values())})
            log.write("eval_sets", stepper.step, by_set)
            write_dev_values(values, Path(stepper.recipe.train.out), step=stepper.step)
        # Others contribute 0, so the sum is the first process's value, and all decide alike.
        value = torch.tensor(fmean(metrics.values()) if metrics else 0.0, device=stepper.encoder.device)
        mean = float(mean_over_ranks(value)) * world_size()
        progress.metrics = metrics
        if mean > progress.best:
            progress.best, progress.best_step, progress.worse_in_row = mean, stepper.step, 0
            if log and stepper.step:
                state = stepper.weights_state() | {"progress": progress.state_dict()}
                save(Path(stepper.recipe.train.out) / BEST, state, keep=1)
        else:
            progress.worse_in_row += 1
    on_metrics(stepper.step, metrics)
    return metrics


def _is_over(recipe: Recipe, progress: Progress) -> bool:
    return 0 < recipe.train.patience <= progress.worse_in_row


def _save(stepper: Stepper, progress: Progress, folder: Path, *, keep: int) -> None:
    if rank() == 0:
        save(folder, stepper.state_dict() | {"progress": progress.state_dict()}, keep=keep)
    wait_for_all()


def _log_step(log: RunLog | None, recipe: Recipe, result: StepResult) -> None:
    if log and (result.step % recipe.train.log_every == 0 or result.step in (1, recipe.train.steps)):
        log.write(
            "train",
            result.step,
            {
                "dataset": result.dataset,
                "loss": result.loss,
                "learning_rate": result.learning_rate,
                "gradient_norm": result.gradient_norm,
                "seconds": result.seconds,
                **result.parts,
            },
        )
