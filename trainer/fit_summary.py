"""What a run says at its beginning and at its end, as lines for people."""

from collections.abc import Mapping
from pathlib import Path

from trainer.loop import BEST, CHECKPOINTS, Progress
from trainer.settings import TrainSettings
from trainer.training_sets import TrainingSet


def describe_data(training_sets: Mapping[str, TrainingSet]) -> str:
    """One line per data set: examples, scenario, and how many were left out for which reason."""
    lines = []
    for name, each in training_sets.items():
        left_out = "".join(f"; left out {count}: {reason}" for reason, count in each.left_out.items())
        is_trained = each.settings.is_trained
        size = f"{len(each.examples)} examples" if is_trained else f"{len(each.dev)} queries, only measured"
        lines.append(f"{name}: {size}, {each.settings.scenario}{left_out}")
    return "\n".join(lines)


def summary(train: TrainSettings, progress: Progress, *, step: int, padding: float) -> str:
    """Losses and metrics at the beginning and at the end, where it stopped, and where the weights are.

    `step` is the number of finished steps, `padding` the share of padding among computed tokens.
    """
    lines = [f"{'data set':<20} {'first loss':>10} {'last loss':>10}"]
    lines += [f"{name:<20} {first:>10.4f} {last:>10.4f}" for name, (first, last) in progress.fall.items()]
    if progress.metrics:
        lines += _metrics(train, progress, step)
    lines.append(f"padding {padding:.2%} of computed tokens; checkpoints in {Path(train.out) / CHECKPOINTS}")
    return "\n".join(lines)


def _metrics(train: TrainSettings, progress: Progress, step: int) -> list[str]:
    lines = [f"{'scenario':<20} {'base':>10} {'now':>10}   nDCG@10 on dev"]
    for name, value in progress.metrics.items():
        # A run that was begun without evaluation and continued with it knows nothing of its base.
        base = progress.base_metrics.get(name)
        lines.append(f"{name:<20} {'-' if base is None else f'{base:.4f}':>10} {value:>10.4f}")
    if step < train.steps:
        lines.append(f"stopped early: {progress.worse_in_row} evaluations without a better mean (train.patience)")
    if progress.best_step:
        lines.append(f"best mean {progress.best:.4f} at step {progress.best_step}: {Path(train.out) / BEST}")
    else:
        lines.append(f"no step was better than the base (mean {progress.best:.4f}); an export takes the last step")
    return lines
