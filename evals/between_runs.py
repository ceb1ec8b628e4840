"""Two runs against each other, or two systems of one run."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.records import SetResult
from evals.results import Results
from evals.significance import Comparison, compare_sets
from evals.significance import compare as compare_values
from rag_embedder.errors import ConfigError, InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: system `a` of the first run against `b` of the second, on one set, or over a scenario's sets."""

    a: str
    b: str
    scenario: str
    key: str | None
    mean_a: float
    mean_b: float
    comparison: Comparison


def compare_runs(
    first: Results, second: Results, *, a: str | None = None, b: str | None = None, metric: str, seed: int = 0
) -> list[Row]:
    """Every set that both runs measured on the same files and queries, then every scenario over those.

    Without names, systems of one name are compared, or the only ones there are.

    Raises:
        ConfigError: if it is not clear which systems are meant, or the metric was not measured.
        InputError: if no set can be compared.
    """
    rows: list[Row] = []
    for one, other in _pairs(first, second, a, b):
        shared = _shared(first.of(one), second.of(other), metric)
        rows += [
            Row(
                a=one,
                b=other,
                scenario=ours.scenario,
                key=ours.key,
                mean_a=ours.mean(metric),
                mean_b=theirs.mean(metric),
                comparison=compare_values(ours.values[metric], theirs.values[metric], seed=seed),
            )
            for ours, theirs in shared
        ]
        rows += _scenario_rows(one, other, shared, metric, seed)
    if not rows:
        raise InputError("no set was measured by both runs on the same files and queries; expected at least one.")
    return rows


def comparison_table(rows: Sequence[Row], metric: str) -> str:
    """A Markdown table; figures in per cent, differences in points with their 95 % interval."""
    lines = [
        f"| a | b | scenario | set | n | {metric} a | b | a - b | 95 % interval | p | wins / ties / losses |",
        "|---|---|---|---|---:|---:|---:|---:|---|---:|---|",
    ]
    for row in rows:
        found = row.comparison
        cells = (
            row.a,
            row.b,
            row.scenario,
            row.key or "**mean of its sets**",
            str(found.n),
            f"{100 * row.mean_a:.1f}",
            f"{100 * row.mean_b:.1f}",
            f"{100 * found.difference:+.1f}",
            f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
            f"{found.p_value:.4f}",
            f"{found.wins} / {found.ties} / {found.losses}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _pairs(first: Results, second: Results, a: str | None, b: str | None) -> list[tuple[str, str]]:
    for option, name, results in (("--a", a, first), ("--b", b, second)):
        if name is not None and name not in results.systems:
            raise ConfigError(f"{option}: got {name!r}; expected one of: {', '.join(results.systems)}.")
    ours, theirs = [a] if a else list(first.systems), [b] if b else list(second.systems)
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    same = [(name, name) for name in ours if name in theirs]
    if not same or a or b:
        raise ConfigError(
            f"which systems are meant is not clear: the first run has {', '.join(first.systems)}, the second "
            f"{', '.join(second.systems)}. Name both with --a and --b."
        )
    return same


def _shared(ours: Sequence[SetResult], theirs: Sequence[SetResult], metric: str) -> list[tuple[SetResult, SetResult]]:
    by_key = {result.key: result for result in theirs}
    pairs = [(result, by_key[result.key]) for result in ours if result.key in by_key]
    for pair in pairs:
        for result in pair:
            if metric not in result.values:
                raise ConfigError(f"metric: got {metric!r}; expected one of: {', '.join(result.values)}.")
    return [
        (one, other)
        for one, other in pairs
        if one.checksum == other.checksum
        and one.num_documents == other.num_documents
        and one.values[metric].keys() == other.values[metric].keys()
    ]


def _scenario_rows(
    one: str, other: str, shared: Sequence[tuple[SetResult, SetResult]], metric: str, seed: int
) -> list[Row]:
    rows = []
    for scenario in dict.fromkeys(ours.scenario for ours, _ in shared):
        pairs = [pair for pair in shared if pair[0].scenario == scenario]
        found = compare_sets(
            {ours.key: ours.values[metric] for ours, _ in pairs},
            {theirs.key: theirs.values[metric] for _, theirs in pairs},
            seed=seed,
        )
        means = [sum(pair[side].mean(metric) for pair in pairs) / len(pairs) for side in (0, 1)]
        rows.append(
            Row(a=one, b=other, scenario=scenario, key=None, mean_a=means[0], mean_b=means[1], comparison=found)
        )
    return rows
