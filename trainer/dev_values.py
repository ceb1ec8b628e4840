"""What every dev query was worth at one step of a run, in a file of its own: two runs are compared query by query."""

import json
from collections.abc import Mapping
from pathlib import Path

from evals.whole_file import write_json
from rag_embedder.errors import InputError

FOLDER = "dev"

BySet = Mapping[str, Mapping[str, float]]
"""Data set -> query id -> nDCG@10."""


def write_dev_values(values: BySet, out: Path, *, step: int) -> Path:
    """Write dev/step-N.json into the folder of a run."""
    return write_json({name: dict(each) for name, each in values.items()}, out / FOLDER / f"step-{step}.json")


def read_dev_values(out: Path, *, step: int | None = None) -> tuple[int, BySet]:
    """The step, by default the last one that was evaluated, and the values.

    Raises:
        InputError: if that step, or any, was not evaluated, or the file is damaged.
    """
    steps = sorted(int(file.stem.removeprefix("step-")) for file in (out / FOLDER).glob("step-*.json"))
    chosen = (steps[-1] if steps else None) if step is None else step
    if chosen is None or chosen not in steps:
        raise InputError(
            f"{out}: no dev values of {'any step' if step is None else f'step {step}'}; there are those of steps "
            f"{steps or 'none'}. Set train.eval_every, and dev of the data sets."
        )
    file = out / FOLDER / f"step-{chosen}.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return chosen, {name: {query: float(value) for query, value in each.items()} for name, each in values.items()}
    except (ValueError, AttributeError, TypeError) as fault:
        raise InputError(f"{file} is damaged ({fault}); expected what a run writes. Evaluate again.") from fault
