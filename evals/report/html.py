"""The page: one HTML file that holds its style, its script and all it shows, and asks the network for nothing."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from evals.comparisons import Comparisons
from evals.cost import DOCUMENTS, QUERIES
from evals.records import Cost
from evals.report.charts import Bar, Point, bar_chart, plot, shortened, top_of
from evals.report.examples import SetExamples
from evals.report.page_data import page_data
from evals.report.table import NOTHING, Cell, ScenarioRow, means_of_scenarios, per_cent, scenario_rows, signed
from evals.results import Results
from evals.whole_file import write_text

_HERE = Path(__file__).parent
_STEPS = (0.005, 0.02, 0.05, 0.10, 0.20)
"""Differences from which a cell is coloured more strongly; the same in every report, so that reports compare."""

_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One system in a figure and a sentence."""

    system: str
    mean: str
    verdict: str


def write_page(results: Results, comparisons: Comparisons, examples: Mapping[str, SetExamples], path: Path) -> Path:
    """Write the page, whole or not at all. Texts of queries and documents are shown as text, whatever they hold."""
    return write_text(render_page(results, comparisons, examples), path)


def render_page(results: Results, comparisons: Comparisons, examples: Mapping[str, SetExamples]) -> str:
    """The page's text."""
    rows = scenario_rows(results, comparisons)
    systems = list(results.systems)
    means = means_of_scenarios(rows, systems)
    style, script = _asset("style.css"), _asset("report.js")
    data = page_data(results, examples, metric=comparisons.metric, baseline=comparisons.baseline)
    return _template().render(
        title=_title(len(systems), len(rows)),
        results=results,
        comparisons=comparisons,
        rows=rows,
        systems=systems,
        means={name: per_cent(value) for name, value in means.items()},
        num_means=sum(all(name in row.cells for name in systems) for row in rows),
        headlines=[_headline(name, means, rows, comparisons) for name in systems],
        reduced=_reduced(results.arguments),
        bars=_bar_charts(rows, comparisons),
        plots=_cost_plots(results.costs, systems, means, comparisons.metric),
        sample=(DOCUMENTS, QUERIES),
        steps=[f"{100 * step:g}" for step in _STEPS],
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'",
        data=Markup(data),  # page_data has escaped it
    )


def tint(cell: Cell) -> str:
    """The class that colours a cell by its difference from the baseline: "up1" to "up5", "down1" to "down5", or ""."""
    if cell.comparison is None:
        return ""
    difference = cell.comparison.difference
    level = sum(abs(difference) >= step for step in _STEPS)
    return f"{'up' if difference > 0 else 'down'}{level}" if level else ""


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "per_cent": per_cent,
        "signed": signed,
        "tint": tint,
        "bytes": _bytes,
        "figures": _figures,
        "shortened": shortened,
    }
    environment.globals |= {"NOTHING": NOTHING}
    return environment.get_template("page.html.j2")


def _asset(name: str) -> Markup:
    return Markup((_HERE / name).read_text(encoding="utf-8"))


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest())
    return f"'sha256-{digest.decode('ascii')}'"


def _title(num_systems: int, num_scenarios: int) -> str:
    systems = _NUMBERS[num_systems] if num_systems < len(_NUMBERS) else str(num_systems)
    scenarios = _NUMBERS[num_scenarios].lower() if num_scenarios < len(_NUMBERS) else str(num_scenarios)
    return f"{systems} system{'s' if num_systems != 1 else ''}, {scenarios} scenario{'s' if num_scenarios != 1 else ''}"


def _headline(
    system: str, means: Mapping[str, float], rows: Sequence[ScenarioRow], comparisons: Comparisons
) -> Headline:
    mean = per_cent(means[system]) if system in means else NOTHING
    if comparisons.baseline is None:
        return Headline(system=system, mean=mean, verdict="")
    if system == comparisons.baseline:
        return Headline(system=system, mean=mean, verdict="the baseline")
    cells = [row.cells[system] for row in rows if system in row.cells and row.cells[system].comparison]
    better, worse = (sum(cell.mark == mark for cell in cells) for mark in "▲▼")
    undecided = len(cells) - better - worse
    parts = [
        f"{count} {word}"
        for count, word in ((better, "better ▲"), (worse, "worse ▼"), (undecided, "undecided"))
        if count
    ]
    return Headline(system=system, mean=mean, verdict=", ".join(parts))


def _reduced(arguments: Mapping[str, Any]) -> str:
    selection = arguments.get("selection") or {}
    parts = []
    if selection.get("limit"):
        parts.append(f"at most {selection['limit']:,} queries of each set")
    if selection.get("max_documents"):
        parts.append(f"at most {selection['max_documents']:,} documents")
    return " and ".join(parts)


def _bar_charts(rows: Sequence[ScenarioRow], comparisons: Comparisons) -> list[Markup]:
    end = top_of([cell.interval.high for row in rows for cell in row.cells.values()])
    return [
        bar_chart(
            [_bar(cell, comparisons.baseline) for cell in row.cells.values()],
            name=f"bars-{number}",
            title=f"{row.title}: {comparisons.metric} in per cent with 95 % intervals",
            end=end,
        )
        for number, row in enumerate(rows)
    ]


def _bar(cell: Cell, baseline: str | None) -> Bar:
    found = cell.interval
    return Bar(
        name=cell.system,
        value=found.mean,
        low=found.low,
        high=found.high,
        is_baseline=cell.system == baseline,
        note=cell.mark,
    )


def _cost_plots(
    costs: Mapping[str, Cost], systems: Sequence[str], means: Mapping[str, float], metric: str
) -> list[tuple[str, Markup, list[str]]]:
    """(title, chart, systems that are not on it) for each kind of cost that any system has."""
    kinds = (
        ("Time of one query", "milliseconds, median", lambda cost: cost.query_p50_ms),
        ("Indexing speed", "documents a second", lambda cost: cost.documents_per_second),
        ("Index size", "bytes a document", lambda cost: cost.index_bytes_per_document),
    )
    plots = []
    for kind, (title, label, of) in enumerate(kinds):
        points = [
            Point(number=number, name=name, x=of(costs[name]), y=means[name])
            for number, name in enumerate(systems, start=1)
            if name in costs and name in means and of(costs[name])
        ]
        if points:
            missing = [name for name in systems if name not in {point.name for point in points}]
            chart = plot(
                points,
                name=f"cost-{kind}",
                title=f"{title}: {metric}, mean of scenarios, over {label}",
                x_label=f"{label} (logarithmic)",
                end=top_of([point.y for point in points]),
            )
            plots.append((title, chart, missing))
    return plots


def _figures(value: float | None) -> str:
    """Three digits that mean something."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bytes(value: float | None) -> str:
    if value is None:
        return NOTHING
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
