"""A small run: a tiny random encoder on two synthetic data sets."""

from pathlib import Path

from tests import tiny_models
from trainer.fit import load_encoder
from trainer.settings import DataSettings, ModelSettings, Recipe, TrainSettings
from trainer.steps import Stepper
from trainer.training_sets import read_training_sets


def make_recipe(folder: Path, *, lora_rank: int = 0, data: tuple[DataSettings, ...] | None = None, **train) -> Recipe:
    base = folder / "base"
    if not base.exists():
        tiny_models.write_plain(base)
    qa = DataSettings(
        name="qa",
        path="smoke:qa.train",
        dev="smoke:qa.dev",
        scenario="qa",
        loss={"graded_distillation": 1.0},
        student_temperature=0.05,
        max_examples=32,
    )
    tool = DataSettings(
        name="tool",
        path="smoke:tool.train",
        scenario="tool",
        loss={"contrastive": 1.0},
        student_temperature=0.05,
        max_examples=24,
    )
    settings = {
        "steps": 8,
        "out": str(folder / "out"),
        "batch_size": 4,
        "group_size": 3,
        "learning_rate": 1e-3,
        "warmup": 0.25,
        "save_every": 0,
        "log_every": 1,
    } | train
    return Recipe(
        model=ModelSettings(base=str(base), max_length=32, lora_rank=lora_rank),
        train=TrainSettings(**settings),
        data=data or (qa, tool),
    )


def make_stepper(recipe: Recipe) -> Stepper:
    return Stepper(recipe, load_encoder(recipe, device="cpu"), read_training_sets(recipe))
