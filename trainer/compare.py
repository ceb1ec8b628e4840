"""Runs of `trainer.fit` side by side, by what their dev queries are worth: `python -m trainer.compare RUN RUN ...`.

Exit codes: 0 done, 2 bad input.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from evals.report.insertion import fill_blocks
from evals.significance import Comparison, Interval, compare_sets, interval_of_sets
from rag_embedder.errors import InputError
from trainer.command import run_command
from trainer.dev_values import BySet, read_dev_values
from trainer.recipe import load_recipe
from trainer.run_folder import RECIPE

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

BASE = "before training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run: the mean over scenarios of the means over their sets, nDCG@10, and how it differs from the first run's.

    `by_scenario` has the mean over the sets of each scenario; `interval` and `difference` are over the sets, each
    counting the same.
    """

    name: str
    step: int
    by_scenario: Mapping[str, float]
    interval: Interval
    difference: Comparison | None


def compared(folders: Sequence[Path], *, step: int | None = None) -> list[Row]:
    """The first run before its training, then every run after it, in their order.

    Args:
        folders: of runs with the same dev splits; a run is called by the name of its folder.
        step: which evaluation of each run; by default its last one.

    Raises:
        InputError: if a run has no such evaluation, or not the same sets and queries as the first.
    """
    scenario_of = {settings.name: settings.scenario for settings in load_recipe(folders[0] / RECIPE).data}
    _, base = read_dev_values(folders[0], step=0)
    first_step, first = read_dev_values(folders[0], step=step)
    rows = [_row(BASE, 0, base, first, scenario_of), _row(folders[0].name, first_step, first, None, scenario_of)]
    for folder in folders[1:]:
        found, values = read_dev_values(folder, step=step)
        if {name: each.keys() for name, each in values.items()} != {name: each.keys() for name, each in first.items()}:
            raise InputError(
                f"{folder} was evaluated on {', '.join(values)}, {folders[0]} on {', '.join(first)}, or on other "
                "queries of them; expected the same dev files."
            )
        rows.append(_row(folder.name, found, values, first, scenario_of))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Markdown, in per cent."""
    scenarios = list(rows[0].by_scenario)
    lines = [
        f"| run | steps | mean of the sets | against {rows[1].name} | {' | '.join(scenarios)} |",
        f"| --- | ---: | ---: | ---: | {' | '.join('---:' for _ in scenarios)} |",
    ]
    for row in rows:
        mean = f"{row.interval.mean:.1%} [{row.interval.low:.1%}, {row.interval.high:.1%}]"
        values = " | ".join(f"{row.by_scenario[name]:.1%}" for name in scenarios)
        cells = f"| {row.name} | {row.step} | {mean} | {_difference(row.difference)} | {values} |"
        lines.append(cells.replace("%", ""))
    return "\n".join(lines)


def block(rows: Sequence[Row]) -> str:
    """The table for a document, with the command that made it."""
    names = " ".join(shlex.quote(row.name) for row in rows[1:])
    return f"<!-- Made by `python -m trainer.compare {names}`. Do not edit. -->\n\n{table(rows)}"


def _difference(found: Comparison | None) -> str:
    if found is None:
        return ""
    mark = ("▲ " if found.difference > 0 else "▼ ") if found.p_value < 0.05 else ""
    return f"{mark}{found.difference:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"


def _row(name: str, step: int, values: BySet, first: BySet | None, scenario_of: Mapping[str, str]) -> Row:
    by_scenario: dict[str, list[float]] = {}
    for key, each in values.items():
        by_scenario.setdefault(scenario_of[key], []).append(fmean(each.values()))
    return Row(
        name=name,
        step=step,
        by_scenario={scenario: fmean(means) for scenario, means in by_scenario.items()},
        interval=interval_of_sets(values),
        difference=None if first is None else compare_sets(values, first),
    )


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; the others are compared with the first.")],
    step: Annotated[int | None, typer.Option(help="Which evaluation; default: the last of each run.")] = None,
    into: Annotated[Path | None, typer.Option(help="Markdown file with a block for the table.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """A table of nDCG@10 on the dev splits: means with 95 % intervals, paired differences from the first run.

    ▲ and ▼ mark differences of p < 0.05 (paired randomisation test over queries, not adjusted for their number).
    With --into, the table goes between the lines `<!-- results: runs -->` and `<!-- end of results -->`.
    """
    rows = compared(runs, step=step)
    if into is not None:
        fill_blocks(into, {"runs": block(rows)})
    typer.echo(json.dumps([asdict(row) for row in rows]) if as_json else table(rows))


def main() -> None:
    """Entry point of `python -m trainer.compare`."""
    run_command(app, "compare", interrupted="nothing was written.")


if __name__ == "__main__":
    main()
