"""Steps, log, evaluation, checkpoints and the model folder of a run; continued, it equals an uninterrupted one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.checkpoint import load_latest, save
from trainer.language_model.learner import Learner
from trainer.language_model.settings import LanguageModelTrainSettings
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

    learner: Learner

    def train_step(self) -> StepResult:
        """Learn from the rows of this step."""
        ...

    def measure(self) -> Metrics:
        """What the model is worth on held-out documents."""
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
        trained.learner.load_state_dict(state)
    metrics: Metrics = {}
    with RunLog(out, step=trained.learner.step) as log:

        def evaluate() -> Metrics:
            found = trained.measure()
            _log_metrics(log, trained.learner.step, found, drawn)
            on_metrics(trained.learner.step, found)
            return found

        if train.eval_every and trained.learner.step == 0:
            metrics = evaluate()
        while trained.learner.step < train.steps:
            result = trained.train_step()
            if result.step % train.log_every == 0 or result.step in (1, train.steps):
                _log_step(log, result)
            on_step(result)
            is_last = trained.learner.step == train.steps
            if train.eval_every and (is_last or trained.learner.step % train.eval_every == 0):
                metrics = evaluate()
            if is_last or (train.save_every and trained.learner.step % train.save_every == 0):
                save(out / CHECKPOINTS, trained.learner.state_dict(), keep=train.keep)
                trained.save_model(out / MODEL)
    return metrics


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
