"""What a run leaves for people to read: two Markdown tables and one page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.comparisons import HEADLINE, Comparisons, compare_systems
from evals.records import EvaluationSet
from evals.report.examples import choose_examples
from evals.report.html import write_page
from evals.report.markdown import results_table
from evals.results import Results
from evals.whole_file import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """Where they lie."""

    table: Path
    short_table: Path
    page: Path


def write_tables_and_page(
    results: Results,
    folder: Path,
    *,
    sets: Mapping[str, EvaluationSet],
    metric: str = HEADLINE,
    baseline: str | None = None,
) -> tuple[Comparisons, ReportFiles]:
    """Compare the systems and write `table.md`, `table-short.md` and `report.html` into the run's folder.

    `sets` give the texts that are shown, by key; for a set that is missing, ids are shown alone.

    Raises:
        ConfigError: if the baseline or the metric is not in the run.
    """
    comparisons = compare_systems(results, metric=metric, baseline=baseline, seed=results.provenance.get("seed", 0))
    files = ReportFiles(table=folder / "table.md", short_table=folder / "table-short.md", page=folder / "report.html")
    write_text(results_table(results, comparisons), files.table)
    write_text(results_table(results, comparisons, short=True), files.short_table)
    write_page(results, comparisons, choose_examples(results, folder, sets, metric=metric), files.page)
    return comparisons, files
