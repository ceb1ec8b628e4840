"""The program: `python -m evals run | end-task | compare | show | report | list`.

Exit codes: 0 done, 1 done but some sets could not be read, 2 bad input or configuration, 130 interrupted.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evals.datasets.selection import Selection
from evals.measuring import SMOKE, SMOKE_SETS, Plan, measure
from rag_embedder.cli.ending import run_program
from rag_embedder.errors import ConfigError

app = typer.Typer(
    name="evals",
    help="Measure any encoder in every retrieval scenario of an LLM agent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[Path, typer.Option(help="Folder of data sets, or of one: corpus.jsonl, queries.*.jsonl, qrels.*.tsv.")]
Metric = Annotated[str, typer.Option(help="The metric of tables and tests.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def run(  # noqa: PLR0913  (options, by name)
    data: Data = Path("data"),
    systems: Annotated[str, typer.Option(help="Comma-separated: see `list`.")] = "bm25,default",
    suite: Annotated[str, typer.Option(help="tools, convsearch, knowledge, memory, demonstrations or all.")] = "all",
    out: Annotated[Path, typer.Option(help="Folder for results, runs and the report.")] = Path("eval-results"),
    split: Annotated[str, typer.Option(help="test or dev; of a folder of your own, any of its splits.")] = "test",
    scenario: Annotated[str, typer.Option(help="Of a folder of your own.")] = "qa",
    baseline: Annotated[str | None, typer.Option(help="Others are tested against it; default: the first.")] = None,
    metric: Metric = "nDCG@10",
    limit: Annotated[int | None, typer.Option(help="At most so many queries of a set, drawn with the seed.")] = None,
    seed: Annotated[int, typer.Option(help="For the draw of queries, intervals and tests.")] = 0,
    preset: Annotated[str | None, typer.Option(help="smoke: one small set of every scenario, under a minute.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached vectors; default: OUT/vectors.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    cost: Annotated[bool, typer.Option(help="Time the systems side by side.")] = True,
    as_json: AsJson = False,
) -> None:
    """Measure systems on a suite; the same command again continues or reuses what is there."""
    if preset not in (None, "smoke"):
        raise ConfigError(f"preset: got {preset!r}; expected smoke, or none.")
    selection = Selection(limit=limit, seed=seed)
    if preset == "smoke":
        selection = Selection(limit=limit or SMOKE.limit, seed=seed, max_documents=SMOKE.max_documents)
    plan = Plan(
        data=data,
        out=out,
        systems=_names(systems, "systems"),
        cache=out / "vectors" if cache is None else cache,
        suite=suite,
        split=split,
        scenario=scenario,
        selection=selection,
        only=SMOKE_SETS if preset == "smoke" else None,
        device=device,
        measures_cost=cost,
    )
    _run(plan, metric=metric, baseline=baseline, as_json=as_json)


def _run(plan: Plan, *, metric: str, baseline: str | None, as_json: bool) -> None:
    from evals.comparisons import check_choice
    from evals.report import write_tables_and_page
    from evals.systems.specification import name_of

    check_choice([name_of(text) for text in plan.systems], plan.metrics, baseline=baseline, metric=metric)
    results, sets = measure(plan)
    comparisons, files = write_tables_and_page(
        results, plan.out, sets={each.key: each for each in sets}, metric=metric, baseline=baseline
    )
    if as_json:
        typer.echo(json.dumps({"results": str(plan.out / "results.json"), **comparisons.to_json()}))
    else:
        typer.echo(files.table.read_text(encoding="utf-8"))
        seconds = ", ".join(f"{name} {value:.1f} s" for name, value in results.wall.items())
        typer.echo(f"time: {seconds}")
        typer.echo(f"report: {files.page}")
    _exit_for_skipped(results.skipped)


@app.command("end-task")
def end_task(  # noqa: PLR0913  (options, by name)
    lm: Annotated[
        str, typer.Option(help="Causal LM: folder, hub id, or http://host/v1 of an OpenAI-compatible server.")
    ],
    data: Data = Path("data"),
    conditions: Annotated[
        str, typer.Option(help="Comma-separated: none, recency, oracle, same-task-random, and systems.")
    ] = "none,random,bm25,default",
    suite: Annotated[str, typer.Option(help="knowledge, memory, demonstrations or all.")] = "all",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("eval-results"),
    limit: Annotated[int | None, typer.Option(help="At most so many examples of a task, drawn with the seed.")] = None,
    seed: Annotated[int, typer.Option(help="For the draw of examples and for tests.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached vectors; default: OUT/vectors.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    preset: Annotated[str, typer.Option(help="Lengths of long texts: paper (4,096 tokens), or small.")] = "paper",
    tokenizer: Annotated[str | None, typer.Option(help="Of a server's model: folder or hub id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what retrieval does for a language model: answers, perplexity, in-context learning."""
    from evals.end_task.measuring import EndTaskPlan, measure_end_tasks
    from evals.end_task.table import end_task_table
    from evals.whole_file import write_text

    found = measure_end_tasks(
        EndTaskPlan(
            data=data,
            out=out,
            lm=lm,
            conditions=_names(conditions, "conditions"),
            cache=out / "vectors" if cache is None else cache,
            suite=suite,
            selection=Selection(limit=limit, seed=seed),
            device=device,
            tokenizer=tokenizer,
            preset=preset,
        )
    )
    table = end_task_table(found.results, seed=seed)
    write_text(table + "\n", out / "end_task.md")
    summaries = [
        {"set": each.key, "task": each.task, "condition": each.condition, **each.summary} for each in found.results
    ]
    typer.echo(json.dumps(summaries) if as_json else table)
    _exit_for_skipped(found.skipped)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    metric: Metric = "nDCG@10",
    baseline: Annotated[str | None, typer.Option(help="Others are tested against it; default: the first.")] = None,
    data: Annotated[Path | None, typer.Option(help="Where the data lie now; default: where they lay then.")] = None,
    into: Annotated[list[Path] | None, typer.Option(help="Documents whose marked blocks get the tables.")] = None,
) -> None:
    """Make the tables and the page again, with another metric or baseline, and put the tables into documents."""
    from evals.report import write_tables_and_page
    from evals.report.insertion import insert_tables
    from evals.results import load_results
    from evals.texts import sets_of

    results = load_results(folder)
    sets = sets_of(results, data)
    _, files = write_tables_and_page(results, folder, sets=sets, metric=metric, baseline=baseline)
    typer.echo(f"report: {files.page}")
    for document in into or ():
        typer.echo(f"{document}: {insert_tables(document, files)} tables")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Results of a run: its folder or results.json.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The run to compare with; may be the same.")],
    a: Annotated[
        str | None, typer.Option("--a", help="System of A; default: the only one, or those of one name.")
    ] = None,
    b: Annotated[str | None, typer.Option("--b", help="System of B.")] = None,
    metric: Metric = "nDCG@10",
    seed: Annotated[int, typer.Option(help="For intervals and tests.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Differences between two runs, query by query, with intervals and tests."""
    from evals.between_runs import compare_runs, comparison_table
    from evals.results import load_results

    found = compare_runs(load_results(first), load_results(second), a=a, b=b, metric=metric, seed=seed)
    typer.echo(json.dumps([asdict(row) for row in found]) if as_json else comparison_table(found, metric))


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    query: Annotated[str, typer.Option(help="Id of the query.")],
    key: Annotated[str | None, typer.Option("--set", help="The set, if the id is in several.")] = None,
    k: Annotated[int, typer.Option(help="How many documents of each system.")] = 5,
    data: Annotated[Path | None, typer.Option(help="Where the data lie now; default: where they lay then.")] = None,
) -> None:
    """One query: its text, its judgements and what every system found."""
    from evals.results import load_results
    from evals.show import describe_query

    typer.echo(describe_query(load_results(folder), folder, query, key=key, k=k, data=data))


@app.command("list")
def list_choices(
    data: Annotated[Path | None, typer.Option(help="Also say which sets lie there.")] = None, as_json: AsJson = False
) -> None:
    """Suites, sets, systems and metrics."""
    from evals.listing import choices, choices_text

    found = choices(data)
    typer.echo(json.dumps(found) if as_json else choices_text(found))


def _names(text: str, option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"{option}: got none; expected names such as bm25,default (see `python -m evals list`).")
    return names


def _exit_for_skipped(skipped: Mapping[str, str]) -> None:
    for key, reason in skipped.items():
        typer.echo(f"skipped {key}: {reason}", err=True)
    if skipped:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of `python -m evals`."""
    run_program(app, name="evals", interrupted="what was measured is kept, run the same command to go on.")
