"""A loss or gradient that is no number stops the run, with the batch that made it written out."""

import math
from dataclasses import asdict
from pathlib import Path

from evals.whole_file import write_json
from trainer.collate import TrainingBatch
from trainer.distributed import rank
from trainer.errors import NonFiniteError


def refuse_non_finite(name: str, value: float, batch: TrainingBatch, *, step: int, folder: Path) -> None:
    """Return if `value` is finite; every process must have the same value, so that all stop together.

    Raises:
        NonFiniteError: after this process's rows, groups and rewards are in `folder`.
    """
    if math.isfinite(value):
        return
    path = folder / f"non-finite-step-{step}-rank-{rank()}.json"
    rows = {"dataset": batch.rows.dataset, "epoch": batch.rows.epoch, "rows": list(batch.rows.rows)}
    write_json({"step": step, name: repr(value), **rows, "groups": [asdict(group) for group in batch.groups]}, path)
    raise NonFiniteError(
        f"the {name} of step {step} (data set {batch.rows.dataset!r}) is {value}; expected a finite number. Training "
        f"stopped before the weights changed; the batch is in {path}. Look for extreme rewards there, or lower "
        "train.learning_rate.",
        path=path,
    )
