"""Results as Markdown tables: one in full, and a short one for a README."""

from collections.abc import Iterator, Mapping, Sequence

from evals.comparisons import Comparisons
from evals.report.table import NOTHING, Cell, ScenarioRow, per_cent, scenario_rows
from evals.results import Results


def results_table(results: Results, comparisons: Comparisons, *, short: bool = False) -> str:
    """The metric of `comparisons` in per cent, one column per system.

    In full: one row per set, then one per scenario with 95 % intervals. Short: the scenarios alone. The first line is
    a comment with the command and the commit that made it; the same results make the same text.
    """
    systems = list(results.systems)
    rows = scenario_rows(results, comparisons)
    lines = [
        _origin(results),
        "",
        _legend(comparisons),
        "",
        *(_short(rows, systems) if short else _full(rows, systems)),
    ]
    return "\n".join(lines) + "\n"


def _full(rows: Sequence[ScenarioRow], systems: Sequence[str]) -> Iterator[str]:
    names = ["suite", "scenario", "set", "split", "queries", "documents", "source"]
    yield _line([*names, *map(_escaped, systems)])
    yield _line([*["---"] * 4, "---:", "---:", "---", *["---:"] * len(systems)])
    for row in rows:
        for each in row.sets:
            counts = [f"{each.num_queries:,}", f"{each.num_documents:,}"]
            cells = [_value(each.cells, system) for system in systems]
            where = [_escaped(name) for name in (each.suite, row.scenario, each.name, each.split)]
            yield _line([*where, *counts, each.source, *cells])
        title = "mean of 1 set" if len(row.sets) == 1 else f"mean of {len(row.sets)} sets"
        cells = [_value(row.cells, system, has_interval=True) for system in systems]
        yield _line(["", _escaped(row.scenario), title, "", f"{row.num_queries:,}", "", "", *cells])


def _short(rows: Sequence[ScenarioRow], systems: Sequence[str]) -> Iterator[str]:
    yield _line(["scenario", "sets", "queries", *map(_escaped, systems)])
    yield _line(["---", "---:", "---:", *["---:"] * len(systems)])
    for row in rows:
        title = row.title if row.title == row.scenario else f"{row.title} ({row.scenario})"
        counts = [str(len(row.sets)), f"{row.num_queries:,}"]
        yield _line([_escaped(title), *counts, *(_value(row.cells, system) for system in systems)])


def _value(cells: Mapping[str, Cell], system: str, *, has_interval: bool = False) -> str:
    cell = cells.get(system)
    if cell is None:
        return NOTHING
    value = f"**{per_cent(cell.interval.mean)}**" if cell.is_best else per_cent(cell.interval.mean)
    limits = f" [{per_cent(cell.interval.low)}, {per_cent(cell.interval.high)}]" if has_interval else ""
    return f"{value}{limits}{f' {cell.mark}' if cell.mark else ''}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """A name that neither ends its cell nor becomes markup."""
    for character in "\\|`<":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _origin(results: Results) -> str:
    known = results.provenance
    state = "" if known.get("is_clean") is not False else ", with uncommitted changes"
    text = f"Made by `{known.get('command', 'unknown')}` at commit {str(known.get('commit', 'unknown'))[:12]}{state}."
    return f"<!-- {' '.join(text.split()).replace('--!>', '--!&gt;').replace('-->', '--&gt;')} Do not edit. -->"


def _legend(comparisons: Comparisons) -> str:
    text = f"{comparisons.metric} in per cent; a scenario counts each of its sets the same"
    if comparisons.baseline is None:
        return f"{text}."
    return (
        f"{text}. Best in bold; ▲ better, ▼ worse than {_escaped(comparisons.baseline)} (paired randomisation test, "
        "p < 0.05, adjusted for the number of systems)."
    )
