"""What of a model's settings training changes before it begins, checked against what the model can do."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rag_embedder.errors import ConfigError
from rag_embedder.model_folder import ModelSettings
from rag_embedder.model_folder.max_length import max_positions
from rag_embedder.scenario import Scenario


def training_settings(
    settings: ModelSettings,
    *,
    folder: Path,
    name: str,
    scenarios: Mapping[str, Scenario] | None,
    more_scenarios: Mapping[str, Scenario],
    pooling: str | None,
    max_length: int | None,
    prompt_form: str | None = None,
) -> ModelSettings:
    """The settings of `folder` with what is not None put in their place; `name` where the files know none.

    Raises:
        ConfigError: if `max_length` is longer than the model's position table, or too short for an instruction; for an
            unknown pooling or prompt form, or both.
    """
    if max_length is not None:
        positions = max_positions(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")))
        if not 8 <= max_length <= positions:
            raise ConfigError(
                f"model.max_length: got {max_length}; expected 8 to {positions}, the positions of {name}."
            )
    return replace(
        settings.with_reading(pooling=pooling, prompt_form=prompt_form),
        name=settings.name if settings.name != folder.name else name,
        scenarios={**(scenarios or settings.scenarios), **more_scenarios},
        max_length=max_length or settings.max_length,
    )
