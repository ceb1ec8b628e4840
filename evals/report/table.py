"""What the tables say, before it is Markdown or HTML: one row per set and per scenario, one cell per system."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.comparisons import Comparisons
from evals.records import SetResult
from evals.results import Results
from evals.significance import Comparison, Interval, holm

LEVEL = 0.05
"""P-values below it are marked."""

NOTHING = "\N{EN DASH}"
"""What stands where nothing was measured."""

MINUS = "\N{MINUS SIGN}"
"""As wide as the plus sign."""

TITLES = {
    "qa": "Knowledge",
    "convsearch": "Conversational search",
    "chat": "Dialogue memory",
    "lrlm": "Long-text memory",
    "icl": "Demonstrations",
    "tool": "Tools",
}
"""The six scenarios for a reader; a user's own keeps its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One system in one row. `comparison` is against the baseline, None for the baseline itself.

    `adjusted` is its p-value, adjusted over the systems of the row (Holm). `is_best` holds for all that print
    as the best does, to a tenth of a per cent, unless all systems do.
    """

    system: str
    interval: Interval
    is_best: bool
    comparison: Comparison | None = None
    adjusted: float | None = None

    @property
    def mark(self) -> str:
        """A triangle, up or down, where the system is significantly better or worse than the baseline, else nothing."""
        if self.comparison is None or self.adjusted is None or self.adjusted >= LEVEL:
            return ""
        return "▲" if self.comparison.difference > 0 else "▼"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRow:
    """One split of one data set; a system without a result there has no cell."""

    key: str
    suite: str
    num_queries: int
    num_documents: int
    is_zero_shot: bool | None
    cells: Mapping[str, Cell]

    @property
    def name(self) -> str:
        """The set without its split."""
        return self.key.rpartition(".")[0]

    @property
    def split(self) -> str:
        """The split."""
        return self.key.rpartition(".")[2]

    @property
    def source(self) -> str:
        """Whether training may have seen the same source; nothing if nobody said."""
        return "" if self.is_zero_shot is None else "zero-shot" if self.is_zero_shot else "in-domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRow:
    """One scenario with its sets; its cells are means over the sets' means."""

    scenario: str
    sets: Sequence[SetRow]
    cells: Mapping[str, Cell]

    @property
    def title(self) -> str:
        """The scenario for a reader."""
        return TITLES.get(self.scenario, self.scenario)

    @property
    def num_queries(self) -> int:
        """Queries of all its sets."""
        return sum(row.num_queries for row in self.sets)


def scenario_rows(results: Results, comparisons: Comparisons) -> list[ScenarioRow]:
    """The scenarios and their sets, each in the order of the run."""
    return [
        ScenarioRow(
            scenario=scenario,
            sets=[_set_row(key, found, comparisons) for key, found in _by_set(results, scenario).items()],
            cells=_cells(
                scenario,
                list(results.systems),
                comparisons.scenario_means,
                comparisons.by_scenario,
                comparisons.adjusted,
            ),
        )
        for scenario in results.scenarios()
    ]


def means_of_scenarios(rows: Sequence[ScenarioRow], systems: Sequence[str]) -> dict[str, float]:
    """One figure per system: the mean over those scenarios that every system has; empty if there is none."""
    shared = [row for row in rows if all(system in row.cells for system in systems)]
    if not shared:
        return {}
    return {system: math.fsum(row.cells[system].interval.mean for row in shared) / len(shared) for system in systems}


def per_cent(value: float) -> str:
    """0.7126 as "71.3"."""
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    """A difference in points, with its sign: +3.1, -0.4 (a true minus), and 0.0 without."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def _by_set(results: Results, scenario: str) -> dict[str, list[SetResult]]:
    by_set: dict[str, list[SetResult]] = {}
    for result in results.results:
        if result.scenario == scenario:
            by_set.setdefault(result.key, []).append(result)
    return by_set


def _set_row(key: str, found: Sequence[SetResult], comparisons: Comparisons) -> SetRow:
    systems = [result.system for result in found]
    p_values = {
        system: comparisons.by_set[system, key].p_value for system in systems if (system, key) in comparisons.by_set
    }
    adjusted = {(system, key): value for system, value in holm(p_values).items()}
    return SetRow(
        key=key,
        suite=found[0].suite,
        num_queries=found[0].num_queries,
        num_documents=found[0].num_documents,
        is_zero_shot=found[0].is_zero_shot,
        cells=_cells(key, systems, comparisons.set_means, comparisons.by_set, adjusted),
    )


def _cells(
    place: str,
    systems: Sequence[str],
    means: Mapping[tuple[str, str], Interval],
    differences: Mapping[tuple[str, str], Comparison],
    adjusted: Mapping[tuple[str, str], float],
) -> dict[str, Cell]:
    there = [system for system in systems if (system, place) in means]
    printed = {system: per_cent(means[system, place].mean) for system in there}
    best = max(printed.values(), key=float) if len(set(printed.values())) > 1 else None
    return {
        system: Cell(
            system=system,
            interval=means[system, place],
            is_best=printed[system] == best,
            comparison=differences.get((system, place)),
            adjusted=adjusted.get((system, place)),
        )
        for system in there
    }
