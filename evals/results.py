"""A run's results: one JSON file that holds every value per query, so that it can be compared with any other run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evals.records import Cost, Seconds, SetResult
from evals.whole_file import write_json
from rag_embedder.errors import InputError

FORMAT = 1
FILE = "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything one run found. `skipped` maps a set to why it could not be read; `wall` splits the run's seconds."""

    provenance: Mapping[str, Any]
    arguments: Mapping[str, Any]
    systems: Mapping[str, Mapping[str, str]]
    results: Sequence[SetResult]
    costs: Mapping[str, Cost] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    wall: Mapping[str, float] = field(default_factory=dict)

    def of(self, system: str) -> list[SetResult]:
        """One system's results, in the order of the sets."""
        return [result for result in self.results if result.system == system]

    def keys(self) -> list[str]:
        """The sets, in order."""
        return list(dict.fromkeys(result.key for result in self.results))

    def scenarios(self) -> list[str]:
        """The scenarios, in order."""
        return list(dict.fromkeys(result.scenario for result in self.results))

    def scenario_mean(self, system: str, scenario: str, metric: str) -> float:
        """The mean over a scenario's sets of their means: every set counts the same.

        Raises:
            InputError: if the system has no result there.
        """
        means = [result.mean(metric) for result in self.of(system) if result.scenario == scenario]
        if not means:
            raise InputError(
                f"no results of {system!r} for scenario {scenario!r}; expected one of {list(self.systems)}."
            )
        return sum(means) / len(means)


def save_results(results: Results, folder: Path) -> Path:
    """Write `results.json`, whole or not at all."""
    return write_json({"format": FORMAT, **asdict(results)}, folder / FILE)


def load_results(path: Path) -> Results:
    """Read a run's folder or its `results.json`.

    Raises:
        InputError: if it is not there, or not the results of a run.
    """
    file = path / FILE if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise InputError(f"{file} does not exist; expected the folder of a run, or its {FILE}.") from fault
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise InputError(f"{file} cannot be read ({fault}); expected the {FILE} of a run.") from fault
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{file} is not the results of a run of format {FORMAT}; run `python -m evals run` again.")
    try:
        return Results(
            provenance=content["provenance"],
            arguments=content["arguments"],
            systems=content["systems"],
            results=[set_result(each) for each in content["results"]],
            costs={name: Cost(**cost) for name, cost in content["costs"].items()},
            skipped=content["skipped"],
            wall=content["wall"],
        )
    except (KeyError, TypeError) as fault:
        raise InputError(f"{file} is damaged ({fault!r}); expected the {FILE} of a run.") from fault


def set_result(content: Mapping[str, Any]) -> SetResult:
    """One result from its JSON object."""
    return SetResult(**{**content, "seconds": Seconds(**content["seconds"])})
