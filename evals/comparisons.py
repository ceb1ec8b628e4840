"""Every system against one baseline, set by set and scenario by scenario, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.records import SetResult
from evals.results import Results
from evals.significance import Comparison, Interval, compare, compare_sets, holm, interval, interval_of_sets
from rag_embedder.errors import ConfigError

HEADLINE = "nDCG@10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """What one metric says about a run. Keys are (system, set key) and (system, scenario).

    `by_set` and `by_scenario` hold the other systems against `baseline`; they are empty where there is none.
    `adjusted` are the p-values of `by_scenario`, adjusted over systems within a scenario (Holm).
    """

    metric: str
    baseline: str | None
    set_means: Mapping[tuple[str, str], Interval]
    scenario_means: Mapping[tuple[str, str], Interval]
    by_set: Mapping[tuple[str, str], Comparison]
    by_scenario: Mapping[tuple[str, str], Comparison]
    adjusted: Mapping[tuple[str, str], float]

    def to_json(self) -> dict[str, Any]:
        """The same with lists of objects in the place of pairs as keys."""
        named = {
            "sets": _rows(self.set_means, "set"),
            "scenarios": _rows(self.scenario_means, "scenario"),
            "set_differences": _rows(self.by_set, "set"),
            "scenario_differences": _rows(self.by_scenario, "scenario"),
        }
        return {"metric": self.metric, "baseline": self.baseline, **named}


def check_choice(systems: Sequence[str], metrics: Sequence[str], *, baseline: str | None, metric: str) -> None:
    """Raise ConfigError for a baseline or metric that the run does not have; asked before anything is measured."""
    if baseline is not None and baseline not in systems:
        raise ConfigError(f"baseline: got {baseline!r}; expected one of the run's systems: {', '.join(systems)}.")
    if metric not in metrics:
        raise ConfigError(f"metric: got {metric!r}; expected one of: {', '.join(metrics)}.")


def compare_systems(
    results: Results, *, metric: str = HEADLINE, baseline: str | None = None, seed: int = 0
) -> Comparisons:
    """Compare a run's systems; the baseline is the first system if none is named and there are two or more.

    A scenario's figure is the mean over its sets of their means. Systems that lack a set of the scenario are compared
    on those that both have.

    Raises:
        ConfigError: if the baseline or the metric is not in the run.
    """
    names = list(results.systems)
    check_choice(names, _metrics(results), baseline=baseline, metric=metric)
    chosen = baseline if baseline is not None else (names[0] if len(names) > 1 else None)
    found = {(result.system, result.key): result for result in results.results}
    by_scenario = _by_scenario(results, chosen, metric, seed) if chosen else {}
    return Comparisons(
        metric=metric,
        baseline=chosen,
        set_means={place: interval(result.values[metric], seed=seed) for place, result in found.items()},
        scenario_means=_scenario_means(results, metric, seed),
        by_set={
            (system, key): compare(result.values[metric], found[chosen, key].values[metric], seed=seed)
            for (system, key), result in found.items()
            if chosen is not None and system != chosen and (chosen, key) in found
        },
        by_scenario=by_scenario,
        adjusted=_adjusted(by_scenario),
    )


def _scenario_means(results: Results, metric: str, seed: int) -> dict[tuple[str, str], Interval]:
    means = {}
    for system in results.systems:
        for scenario in results.scenarios():
            values = {each.key: each.values[metric] for each in _sets(results, system, scenario).values()}
            if values:
                means[system, scenario] = interval_of_sets(values, seed=seed)
    return means


def _by_scenario(results: Results, baseline: str, metric: str, seed: int) -> dict[tuple[str, str], Comparison]:
    comparisons = {}
    for scenario in results.scenarios():
        theirs = _sets(results, baseline, scenario)
        for system in results.systems:
            ours = _sets(results, system, scenario)
            shared = [key for key in ours if key in theirs]
            if system != baseline and shared:
                comparisons[system, scenario] = compare_sets(
                    {key: ours[key].values[metric] for key in shared},
                    {key: theirs[key].values[metric] for key in shared},
                    seed=seed,
                )
    return comparisons


def _adjusted(comparisons: Mapping[tuple[str, str], Comparison]) -> dict[tuple[str, str], float]:
    adjusted: dict[tuple[str, str], float] = {}
    for scenario in dict.fromkeys(scenario for _, scenario in comparisons):
        values = {system: c.p_value for (system, where), c in comparisons.items() if where == scenario}
        adjusted |= {(system, scenario): value for system, value in holm(values).items()}
    return adjusted


def _sets(results: Results, system: str, scenario: str) -> dict[str, SetResult]:
    return {result.key: result for result in results.of(system) if result.scenario == scenario}


def _rows(by_place: Mapping[tuple[str, str], Interval | Comparison], place: str) -> list[dict[str, Any]]:
    return [{"system": system, place: where, **asdict(value)} for (system, where), value in by_place.items()]


def _metrics(results: Results) -> list[str]:
    """Those that every result has."""
    first, *others = results.results
    return [metric for metric in first.values if all(metric in other.values for other in others)]
