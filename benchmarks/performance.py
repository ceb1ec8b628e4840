"""All figures and pictures of docs/performance.md, made again: `python -m benchmarks.performance [--only PARTS]`.

About fifteen minutes on two idle cores, `--quick` three. The parts have commands of their own, with other sizes.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import encode_throughput, indexing, search_throughput, start_up
from benchmarks.provenance import provenance
from evals.report.insertion import fill_blocks

DOCUMENT = Path("docs/performance.md")
PICTURES = Path("docs/performance")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One table of the document, and its bars: `value` by `name`, a group of bars for each `group`."""

    measure: Callable[[bool], list[Row]]
    columns: Sequence[tuple[str, str]]
    packages: Sequence[str]
    group: str
    name: str
    value: str
    axis: str


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def _encode(quick: bool) -> list[Row]:
    return encode_throughput.measure(rounds=3 if quick else 5, texts=100 if quick else 200, threads=_threads())


def _search(quick: bool) -> list[Row]:
    sizes = [20_000] if quick else [100_000]
    return [row for size in sizes for row in search_throughput.measure(size, rounds=3, threads=_threads())]


def _index(quick: bool) -> list[Row]:
    return indexing.measure([1_000] if quick else [2_000, 20_000])


def _start(quick: bool) -> list[Row]:
    return start_up.measure(rounds=3 if quick else 5)


PARTS = {
    "encode": Part(
        measure=_encode,
        columns=(
            ("workload", "texts"),
            ("engine", "engine"),
            ("ratio", "times as fast"),
            ("range", "range"),
            ("share", "share of the ceiling"),
            ("cosine_mean", "cosine, mean"),
            ("cosine_min", "lowest"),
        ),
        packages=("torch", "transformers", "sentence-transformers", "tokenizers"),
        group="workload",
        name="engine",
        value="ratio",
        axis="times as fast as sentence-transformers (float32)",
    ),
    "search": Part(
        measure=_search,
        columns=(
            ("rows", "vectors"),
            ("index", "index"),
            ("queries_per_s", "queries/s"),
            ("recall", "recall@10"),
            ("build_s", "built in s"),
        ),
        packages=("numpy", "faiss-cpu", "chromadb"),
        group="rows",
        name="index",
        value="queries_per_s",
        axis="queries per second, 512 at once",
    ),
    "index": Part(
        measure=_index,
        columns=(
            ("documents", "documents"),
            ("add_s", "seconds"),
            ("documents_per_s", "documents/s"),
            ("engine_share", "share of the engine"),
            ("first_search_s", "first search, s"),
            ("memory_mb", "memory, MB"),
        ),
        packages=("torch", "faiss-cpu"),
        group="documents",
        name="documents",
        value="documents_per_s",
        axis="documents per second",
    ),
    "start": Part(
        measure=_start,
        columns=(("program", "program"), ("wall_s", "seconds"), ("cpu_s", "CPU seconds")),
        packages=("torch", "transformers", "sentence-transformers"),
        group="program",
        name="program",
        value="cpu_s",
        axis="CPU seconds",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--into", type=Path, default=DOCUMENT)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--quick", action="store_true", help="Small sizes: to see that it runs.")
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        part = PARTS[name]
        rows = part.measure(arguments.quick)
        fill_blocks(arguments.into, {name: table(part, rows)})
        draw(part, rows, arguments.pictures / f"{name}.svg")
        print(f"{name}: {len(rows)} rows into {arguments.into}")


def table(part: Part, rows: list[Row]) -> str:
    """Markdown, and below it where the figures come from."""
    keys = [key for key, _ in part.columns]
    lines = [f"| {' | '.join(title for _, title in part.columns)} |", "|---" * len(keys) + "|"]
    lines += [f"| {' | '.join(_cell(row.get(key)) for key in keys)} |" for row in rows]
    origin = provenance(*part.packages)
    versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
    return "\n".join(
        [*lines, "", f"{_threads()} threads; {origin['processor']}; commit {origin['commit']}; {versions}."]
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " to ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.6f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def draw(part: Part, rows: list[Row], path: Path) -> None:
    """Horizontal bars, one panel for each group, on a common scale."""
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(row[part.group] for row in rows))
    is_single = part.group == part.name
    panels = [rows] if is_single else [[row for row in rows if row[part.group] == group] for group in groups]
    figure = Figure(figsize=(7.5, 0.6 + sum(0.5 + 0.28 * len(panel) for panel in panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[len(panel) for panel in panels])
    for axis, panel, group in zip(axes[:, 0], panels, groups, strict=False):
        names = [_cell(row[part.name]) for row in panel]
        values = [row[part.value] for row in panel]
        bars = axis.barh(names, values, color=["#2a6f97" if _is_ours(row) else "#b0b7bf" for row in panel])
        axis.bar_label(bars, labels=[_cell(value) for value in values], padding=3, fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        if not is_single:
            axis.set_title(_cell(group), fontsize=9, loc="left")
    axes[-1, 0].set_xlabel(part.axis, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _is_ours(row: Row) -> bool:
    named = str(row.get("engine") or row.get("index") or row.get("program") or "")
    return named.startswith(("packed", "flat", "faiss (ours)", "Embedder", "import rag_embedder")) or not named


if __name__ == "__main__":
    main()
