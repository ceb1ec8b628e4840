"""A recipe of `trainer.pretrain`: its file and `key=value` overrides to a checked record, and back to TOML."""

from collections.abc import Sequence
from pathlib import Path

from trainer.pretraining.objective import ObjectiveSettings
from trainer.pretraining.settings import (
    PassageDataSettings,
    PretrainModelSettings,
    PretrainRecipe,
    PretrainTrainSettings,
)
from trainer.recipe_file import RecipeForm, naming_file, read_records, records_to_toml

_FORM = RecipeForm(
    tables={"model": PretrainModelSettings, "objective": ObjectiveSettings, "train": PretrainTrainSettings},
    lists={"data": PassageDataSettings},
    example="train.steps=100 or objective.variant=released",
)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> PretrainRecipe:
    """Read a TOML recipe; each override is `table.key=value`, or `data.NAME.key=value` for one data set.

    Raises:
        ConfigError: as `read_records`.
    """
    records = read_records(path, overrides, _FORM)
    with naming_file(path, overrides):
        return PretrainRecipe(**records, source=str(path))


def recipe_to_toml(recipe: PretrainRecipe) -> str:
    """Every setting, defaults included; `load_recipe` of it gives an equal recipe."""
    return records_to_toml({name: getattr(recipe, name) for name in _FORM.sections}, _FORM)
