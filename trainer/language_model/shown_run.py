"""A run as people see it: a bar with loss and speed, a table per evaluation, curves at the end."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from trainer.language_model.run_loop import Metrics, StepResult
from trainer.language_model.settings import LanguageModelTrainSettings
from trainer.runlog import draw_curves


class Runnable(Protocol):
    """What `run_steps` is called for."""

    def run(
        self,
        *,
        resume: bool = False,
        on_step: Callable[[StepResult], None] = ...,
        on_metrics: Callable[[int, Metrics], None] = ...,
    ) -> Metrics:
        """Train to the last step; returns the last evaluation."""
        ...


def show_run(
    run: Runnable,
    train: LanguageModelTrainSettings,
    *,
    begin: str,
    table: Callable[[Metrics], str],
    resume: bool,
    is_shown: bool,
) -> Metrics:
    """Run it, with `begin` before and a `table` of every evaluation; returns the last evaluation."""
    with tqdm(total=train.steps, desc="fitting", unit="step", disable=None if is_shown else True) as bar:
        if is_shown:
            bar.write(begin)

        def on_step(result: StepResult) -> None:
            bar.update(result.step - bar.n)
            bar.set_postfix_str(f"loss {result.loss:.3f}, {result.tokens / result.seconds:,.0f} tokens/s")

        def on_metrics(step: int, metrics: Metrics) -> None:
            if is_shown:
                bar.write(f"step {step}\n{table(metrics)}")

        metrics = run.run(resume=resume, on_step=on_step, on_metrics=on_metrics)
    draw_curves(Path(train.out))
    return metrics
