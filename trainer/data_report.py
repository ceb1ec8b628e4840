"""What a run was trained on, written beside its checkpoints for the model card."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.whole_file import write_json
from trainer.reading import example_to_json
from trainer.training_sets import TrainingSet

DATA = "data.json"


def write_data_report(training_sets: Mapping[str, TrainingSet], out: Path) -> Path:
    """Write data.json: name, scenario, sizes, losses, and a SHA-256 over the examples that are used.

    Sets that are only measured are not in it.
    """
    trained = [each for each in training_sets.values() if each.settings.is_trained]
    return write_json([_describe(each) for each in trained], out / DATA)


def _describe(training_set: TrainingSet) -> dict[str, Any]:
    digest = hashlib.sha256()
    for example in training_set.examples:
        digest.update(json.dumps(example_to_json(example)).encode())
    settings = training_set.settings
    return {
        "name": settings.name,
        "path": settings.path,
        "scenario": settings.scenario,
        "loss": dict(settings.loss),
        "examples": len(training_set.examples),
        "dev_examples": len(training_set.dev),
        "left_out": dict(training_set.left_out),
        "sha256": digest.hexdigest(),
    }
