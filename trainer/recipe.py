"""A recipe of `trainer.fit`: its file and `key=value` overrides to a checked `Recipe`, and back to TOML."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evals.whole_file import write_text
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import Scenario
from trainer.recipe_file import RecipeForm, naming_file, read_records, records_to_toml
from trainer.settings import DataSettings, ModelSettings, Recipe, TrainSettings

__all__ = ["DataSettings", "ModelSettings", "Recipe", "TrainSettings", "load_recipe", "recipe_to_toml", "save_recipe"]

_FORM = RecipeForm(
    tables={"model": ModelSettings, "train": TrainSettings},
    lists={"data": DataSettings, "scenario": Scenario},
    example="train.steps=100 or data.qa.path=qa.jsonl",
)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe; each override is `table.key=value`, or `data.NAME.key=value` for one data set.

    Raises:
        ConfigError: as `read_records`.
    """
    records = read_records(path, overrides, _FORM)
    with naming_file(path, overrides):
        data = _of_scenarios(records["data"], records["train"].scenarios)
        return Recipe(**{**records, "data": data}, source=str(path))


def recipe_to_toml(recipe: Recipe) -> str:
    """Every setting, defaults included; `load_recipe` of it gives an equal recipe."""
    return records_to_toml({name: getattr(recipe, name) for name in _FORM.sections}, _FORM)


def save_recipe(recipe: Recipe, path: Path) -> Path:
    """Write the resolved recipe, whole or not at all."""
    return write_text(recipe_to_toml(recipe), path)


def _of_scenarios(data: Sequence[DataSettings], chosen: Sequence[str]) -> tuple[DataSettings, ...]:
    """The data sets of these scenarios, and the others with a dev split as sets that are only measured."""
    known = {settings.scenario for settings in data}
    for name in chosen:
        if name not in known:
            raise unknown_name("scenario in train.scenarios:", name, sorted(known))
    if not chosen:
        return tuple(data)
    return tuple(
        settings if settings.scenario in chosen else replace(settings, weight=0.0)
        for settings in data
        if settings.scenario in chosen or settings.dev
    )
