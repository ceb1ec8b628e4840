"""Tables for people and JSON for machines."""

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rag_embedder.reading import READERS, file_suffix
from rag_embedder.types import Chunk, Demonstration, Document, Exchange, Hit, Tool

if TYPE_CHECKING:
    from rag_embedder.cli.examination import Check
    from rag_embedder.cli.indexing import IndexReport
    from rag_embedder.encoder import Preview
    from rag_embedder.quickstart.run import Section
    from rag_embedder.quickstart.side_by_side import SideBySide
    from rag_embedder.reading import Skipped
    from rag_embedder.retrievers.tools import SchemaTokens

Item = Document | Chunk | Exchange | Demonstration | Tool
_SHOWN_SKIPS = 20
_ID_WIDTH = 24


def to_dict(record: Any) -> dict[str, Any]:  # noqa: ANN401  (any of our dataclasses)
    """A record as JSON values; a tool's `original` is left out unless it is JSON itself."""
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {name: _plain(value) for name, value in fields.items() if name != "original" or isinstance(value, dict)}


def print_json(content: object) -> None:
    """JSON on standard output, readable and in UTF-8."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def print_hits(hits: Sequence[Hit[Any]], *, title: str) -> None:
    """One row per hit: rank, score, id and the beginning of its text."""
    console = Console()
    if not hits:
        console.print("nothing found")
        return
    console.print(hit_table(hits, title))


def hit_table(hits: Sequence[Hit[Any]], title: str) -> Table:
    """Hits as a table."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", expand=True)
    table.add_column("#", justify="right", width=2)
    table.add_column("score", justify="right", width=7)
    table.add_column("id", no_wrap=True, max_width=_ID_WIDTH)
    table.add_column("text", ratio=1)
    for hit in hits:
        table.add_row(str(hit.rank), f"{hit.score:.4f}", escape(_short_id(hit.id)), escape(_shown(hit.item)))
    return table


def print_quickstart(sections: "Sequence[Section]") -> None:
    """One table per request."""
    console = Console()
    console.print(
        "Every request is answered by meaning and by words (mode hybrid): a score is the sum of 1 / (60 + rank) over "
        "the encoder's ranking and BM25's."
    )
    for section in sections:
        state = f"read from {section.path}, nothing to encode" if section.is_reused else f"written to {section.path}"
        console.rule(f"[bold]{section.scenario}", align="left")
        console.print(f"{section.num_items} {section.items}; {state} in {section.seconds:.1f} s", highlight=False)
        for answer in section.answers:
            console.print(hit_table(answer.hits, answer.request))
            if answer.note:
                console.print(escape(answer.note), style="dim", highlight=False)


def print_side_by_side(rows: "Sequence[SideBySide]") -> None:
    """One line per scenario: what each encoder finds of what is wanted."""
    from rag_embedder.quickstart.side_by_side import K, by_scenario, totals

    console = Console()
    console.rule("[bold]side by side: the untrained base, and this encoder", align="left")
    table = Table()
    table.add_column("scenario", no_wrap=True)
    for name in ("requests", "wanted", "base", "ours"):
        table.add_column(name, justify="right")
    for scenario, asked in by_scenario(rows).items():
        table.add_row(scenario, str(len(asked)), *map(str, totals(asked)))
    table.add_section()
    table.add_row("all", str(len(rows)), *map(str, totals(rows)))
    console.print(table)
    console.print(
        f"How many of the wanted items are among the first {K}, by meaning alone (mode dense); --json has each "
        "request. These are few and easy; what was measured on thousands is in docs/results.md.",
        style="dim",
    )


def print_index_report(report: "IndexReport") -> None:
    """Counts, and every file or row that was left out."""
    console = Console()
    console.print(
        f"{report.store}: {report.added} added, {report.updated} updated, {report.unchanged} unchanged, "
        f"{report.removed} removed; {report.documents} documents in all",
        highlight=False,
    )
    if report.truncated:
        console.print(f"{report.truncated} texts were longer than the model reads and are encoded without their ends")
    if report.skipped:
        console.print(f"{len(report.skipped)} skipped:")
        lines = _skip_lines(report.skipped)
        for line in lines[:_SHOWN_SKIPS]:
            console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
        if len(lines) > _SHOWN_SKIPS:
            console.print(f"  ... and {len(lines) - _SHOWN_SKIPS} lines more; --json lists all")


def _skip_lines(skipped: "Sequence[Skipped]") -> list[str]:
    """One line per skip; files of one unknown kind share a line, which comes first."""
    kinds = Counter(file_suffix(skip.path) for skip in skipped if skip.cause == "kind")
    grouped = {suffix for suffix, count in kinds.items() if count > 1}
    lines = [
        f"{kinds[suffix]} files {suffix or 'without suffix'}: not known; expected one of {', '.join(READERS)}"
        for suffix in sorted(grouped)
    ]
    return lines + [str(s) for s in skipped if s.cause != "kind" or file_suffix(s.path) not in grouped]


def print_schema_tokens(tokens: "SchemaTokens") -> None:
    """What the choice saves."""
    share = tokens.saved / tokens.all_tools if tokens.all_tools else 0.0
    Console().print(
        f"schemas: {tokens.chosen:,} of {tokens.all_tools:,} tokens sent, {share:.1%} saved", highlight=False
    )


def print_preview(preview: "Preview") -> None:
    """The text between bars, so that spaces show."""
    console = Console()
    console.print(f"|{escape(preview.text)}|", highlight=False, soft_wrap=True)
    cut = "; its end is NOT read" if preview.is_truncated else ""
    console.print(f"{preview.num_tokens} tokens of at most {preview.max_length}{cut}", highlight=False)


def print_exported(folder: Path, scenarios: Sequence[str]) -> None:
    """Where it is, and how others load it."""
    console = Console()
    console.print(f"written to {folder}", highlight=False)
    console.print(
        f'  SentenceTransformer("{folder}").encode(texts, prompt_name="{scenarios[0]}_query")',
        highlight=False,
        soft_wrap=True,
    )


def print_checks(checks: "Sequence[Check]") -> None:
    """One line per check."""
    table = Table(show_header=False, box=None, padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(overflow="fold", max_width=24)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row("[green]ok[/]" if check.is_fine else "[red]FAULT[/]", escape(check.name), escape(check.finding))
    Console().print(table)


def _shown(item: Item) -> str:
    if isinstance(item, Tool):
        return _short(item.description)
    if isinstance(item, Demonstration):
        return _short(f"{item.input} → {item.output}")
    title = getattr(item, "title", "")
    return _short(f"{title}: {item.text}" if title else item.text)


def _short_id(id_: str) -> str:
    """At most `_ID_WIDTH` characters; more of the end is kept, where the parts of one file differ."""
    line = " ".join(id_.split())
    if len(line) <= _ID_WIDTH:
        return line
    start = _ID_WIDTH // 3
    return f"{line[:start]}…{line[start + 1 - _ID_WIDTH :]}"


def _short(text: str, limit: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _plain(value: Any) -> Any:  # noqa: ANN401  (recursion over JSON values)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(element) for element in value]
    return value
