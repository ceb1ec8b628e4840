"""Scenarios as our JSON files keep them: name to {"query": instruction, "document": instruction}."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.scenario import Scenario


def pairs_of(scenarios: Mapping[str, Scenario]) -> dict[str, dict[str, str]]:
    """What is written for these scenarios."""
    return {
        scenario.name: {"query": scenario.query_instruction, "document": scenario.document_instruction}
        for scenario in scenarios.values()
    }


def scenarios_of(pairs: Any, path: Path) -> Mapping[str, Scenario]:  # noqa: ANN401  (JSON)
    """The scenarios that `path` states as `pairs`.

    Raises:
        ModelLoadError: if it is anything else, or empty.
    """
    try:
        scenarios = {name: Scenario(name, pair["query"], pair["document"]) for name, pair in pairs.items()}
    except (AttributeError, KeyError, TypeError, ConfigError) as error:
        raise ModelLoadError(
            f"{path}: scenarios must map a name to its query and document instruction ({error!r})."
        ) from error
    if not scenarios:
        raise ModelLoadError(f"{path}: scenarios is empty; expected at least one.")
    return scenarios
