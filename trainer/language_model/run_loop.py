"""Steps, log, evaluation, checkpoints and the model folder of a run; continued, it equals an uninterrupted one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evals.whole_file import write_json
from rag_embedder.errors import InputError
from trainer.checkpoint import load_latest, save
from trainer.errors import NonFiniteError
from trainer.language_model.settings import LanguageModelTrainSettings
from trainer.optim import linear_schedule
from trainer.runlog import RunLog

CHECKPOINTS = "checkpoints"
MODEL = "model"

Metrics = Mapping[str, Mapping[str, float]]
"""Values by name, by data set."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """`step` counts finished steps; `losses` by what is drawn as one curve (a data set, a task), in nats."""

    step: int
    loss: float
    losses: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    seconds: float
    tokens: int


class Trained(Protocol):
    """One model, its optimiser and its data: a step is a function of the recipe and the number of steps before."""

    step: int

    def train_step(self) -> StepResult:
        """Learn from the rows of this step."""
        ...

    def measure(self) -> Metrics:
        """What the model is worth on held-out documents."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        ...

    def save_model(self, folder: Path) -> None:
        """Write a folder that transformers reads; one that was there is replaced by a whole one."""
        ...


def run_steps(
    trained: Trained,
    train: LanguageModelTrainSettings,
    *,
    drawn: Sequence[str],
    resume: bool = False,
    on_step: Callable[[StepResult], None] = lambda _: None,
    on_metrics: Callable[[int, Metrics], None] = lambda *_: None,
) -> Metrics:
    """Train to the last step; returns the last evaluation.

    Writes into `train.out`: log.jsonl, checkpoints/step-*, and model/, which transformers reads. `drawn` are the
    names of the measured values that become curves: in one picture only what is on one scale.

    Raises:
        NonFiniteError: if a loss or a gradient is no number.
        InputError: if the checkpoint cannot be read or is of another model.
    """
    out = Path(train.out)
    state = load_latest(out / CHECKPOINTS) if resume else None
    if state is not None:
        trained.load_state_dict(state)
    metrics: Metrics = {}
    with RunLog(out, step=trained.step) as log:

        def evaluate() -> Metrics:
            found = trained.measure()
            _log_metrics(log, trained.step, found, drawn)
            on_metrics(trained.step, found)
            return found

        if train.eval_every and trained.step == 0:
            metrics = evaluate()
        while trained.step < train.steps:
            result = trained.train_step()
            if result.step % train.log_every == 0 or result.step in (1, train.steps):
                _log_step(log, result)
            on_step(result)
            is_last = trained.step == train.steps
            if train.eval_every and (is_last or trained.step % train.eval_every == 0):
                metrics = evaluate()
            if is_last or (train.save_every and trained.step % train.save_every == 0):
                save(out / CHECKPOINTS, trained.state_dict(), keep=train.keep)
                trained.save_model(out / MODEL)
    return metrics


def rate_factor(train: LanguageModelTrainSettings, step: int) -> float:
    """Of the learning rate: linear up, then linear down or half a cosine down to a tenth."""
    warmup_steps = min(round(train.warmup * train.steps), train.steps - 1)
    if train.schedule == "linear" or step < warmup_steps:
        return linear_schedule(step, steps=train.steps, warmup=train.warmup)
    share = (step - warmup_steps) / max(1, train.steps - warmup_steps)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes, by name; not copies."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def load_trained_weights(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Put back what `trained_weights` gave.

    Raises:
        InputError: if it is of another model.
    """
    own = trained_weights(model)
    if {name: weight.shape for name, weight in own.items()} != {name: each.shape for name, each in saved.items()}:
        raise InputError("the checkpoint's weights are of another model; expected those of the recipe's.")
    for name, weight in own.items():
        weight.copy_(saved[name])


def refuse_non_finite(
    train: LanguageModelTrainSettings, step: int, values: Mapping[str, float], rows: Mapping[str, Any]
) -> None:
    """Nothing, if all `values` are finite; `rows` says what was read, for the file that is written if not.

    Raises:
        NonFiniteError: with the path of that file.
    """
    for what, value in values.items():
        if math.isfinite(value):
            continue
        path = Path(train.out) / f"non-finite-step-{step}.json"
        write_json({"step": step, what: repr(value), **rows}, path)
        raise NonFiniteError(
            f"the {what} of step {step} is {value}; expected a finite number. Training stopped before the weights "
            f"changed; the rows are in {path}. Lower train.learning_rate, or set train.clip.",
            path=path,
        )


def _log_metrics(log: RunLog, step: int, metrics: Metrics, drawn: Sequence[str]) -> None:
    for name, values in metrics.items():
        log.write("held_out", step, {"dataset": name} | dict(values))
    curves = {f"{name} {key}": values[key] for name, values in metrics.items() for key in drawn if key in values}
    log.write("eval", step, curves)


def _log_step(log: RunLog, result: StepResult) -> None:
    for name, loss in result.losses.items():
        log.write(
            "train",
            result.step,
            {
                "dataset": name,
                "loss": loss,
                "learning_rate": result.learning_rate,
                "gradient_norm": result.gradient_norm,
                "seconds": result.seconds,
            },
        )
