"""Candidates for the queries of one data set, found by BM25 and by encoders: `python -m trainer.mine`.

Exit codes: 0 done, 2 bad input or configuration, 130 interrupted.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from evals.datasets.selection import Selection
from evals.systems import System
from rag_embedder.errors import ConfigError, InputError
from trainer.command import run_command
from trainer.examples import Example
from trainer.mining.part import PartSettings, cut
from trainer.mining.queries import TrainingQueries
from trainer.mining.search import MiningSettings, mine
from trainer.mining.source import MiningSource, find_source
from trainer.reading import check_file_name, write_examples

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(slots=True)
class Summary:
    """What was written. Negatives are candidates without a label."""

    file: str
    scenario: str
    checksum: str
    num_queries: int
    num_examples: int = 0
    num_positives: int = 0
    num_negatives: int = 0
    num_without_negatives: int = 0
    seconds: float = 0.0

    def counted(self, examples: Iterable[Example]) -> Iterator[Example]:
        """The examples, counted as they pass."""
        for example in examples:
            num_positives = sum(candidate.label > 0 for candidate in example.candidates)
            self.num_examples += 1
            self.num_positives += num_positives
            self.num_negatives += len(example.candidates) - num_positives
            self.num_without_negatives += num_positives == len(example.candidates)
            yield example

    def text(self) -> str:
        """A few lines for people."""
        count = max(1, self.num_examples)
        lines = [
            f"{self.num_examples} examples of {self.num_queries} queries in {self.seconds:.1f} s: {self.file}",
            f"per example: {self.num_positives / count:.2f} positives, {self.num_negatives / count:.2f} negatives",
        ]
        if self.num_without_negatives:
            lines.append(f"{self.num_without_negatives} examples have no negative")
        return "\n".join(lines)


@app.command()
def run(  # noqa: PLR0913  (options, by name)
    out: Annotated[Path, typer.Option(help="File to write: .jsonl or .jsonl.gz.")],
    data: Annotated[Path, typer.Option(help="Folder of data sets, or of one.")] = Path("data"),
    name: Annotated[
        str | None, typer.Option("--set", help="Data set below it, such as knowledge/squad; none if it is one.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which queries; the pool of demonstrations is seen.")] = "train",
    scenario: Annotated[str | None, typer.Option(help="Of a set that evaluation does not know.")] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="System to search with too, as in evals; may be repeated.")
    ] = None,
    bm25: Annotated[bool, typer.Option(help="Search with BM25.")] = True,
    k: Annotated[int, typer.Option(help="At most so many candidates besides the known positives.")] = 100,
    skip_answers: Annotated[bool, typer.Option(help="Leave out candidates that hold an answer of the query.")] = False,
    same_task: Annotated[bool, typer.Option(help="Label found demonstrations of the query's own task.")] = False,
    seen_only: Annotated[bool, typer.Option(help="Candidates are known positives of this split's queries.")] = False,
    hold_out: Annotated[int | None, typer.Option(help="Hold out so many known positives with their queries.")] = None,
    held_out: Annotated[Path | None, typer.Option(help="File for the queries that --hold-out leaves out.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many queries, drawn with the seed.")] = None,
    seed: Annotated[int, typer.Option(help="For the draws of queries and documents.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder where vectors are kept for the next time.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write one training example per query: its known positives, and what BM25 and encoders find besides."""
    part = PartSettings(hold_out=hold_out, seen_only=seen_only, seed=seed)
    if (hold_out is None) != (held_out is None):
        raise ConfigError("--hold-out and --held-out: got one of them; name how many documents, and the file for them.")
    for file in (out, held_out):
        _check_out(file, overwrite=overwrite)
    source = find_source(data, name, split, scenario=scenario, labels_same_task=same_task)
    if source.is_held_out:
        typer.echo(
            f"mine: {source.name}.{source.split} is what evaluation measures: for looking at, not for training.",
            err=True,
        )
    settings = MiningSettings(k=k, skip_answers=skip_answers)
    systems = _systems(encoder or (), bm25=bm25, cache=cache, device=device)
    if source.scenario == "convsearch":
        settings = replace(settings, fits=_dialogue_fits())
    for queries, file in _parts(source, part, Selection(limit=limit, seed=seed), out, held_out):
        summary = _write(queries, systems, settings, file)
        typer.echo(json.dumps(asdict(summary)) if as_json else summary.text())


def _parts(
    source: MiningSource, part: PartSettings, selection: Selection, out: Path, held_out: Path | None
) -> Iterator[tuple[TrainingQueries, Path]]:
    """What is mined, and the file for it."""
    queries = source.read(selection)
    if part.hold_out is None and not part.seen_only:
        yield queries, out
        return
    whole = queries if selection.limit is None else source.read(replace(selection, limit=None))
    parts = cut(queries, whole.documents, part)
    yield parts.train, out
    if held_out:
        yield parts.held_out, held_out


def _write(queries: TrainingQueries, systems: Sequence[System], settings: MiningSettings, file: Path) -> Summary:
    start = time.perf_counter()
    documents = queries.documents
    summary = Summary(str(file), documents.scenario, documents.checksum, len(documents.queries))
    with tqdm(total=summary.num_queries, desc="mining", unit="query") as bar:
        write_examples(summary.counted(mine(queries, systems, settings, advance=bar.update)), file)
    summary.seconds = time.perf_counter() - start
    return summary


def _check_out(out: Path | None, *, overwrite: bool) -> None:
    """Raise before anything is searched."""
    if out is None:
        return
    check_file_name(out)
    if out.exists() and not overwrite:
        raise InputError(f"{out} is there already; name another file, or replace it with --overwrite.")


def _systems(encoders: Sequence[str], *, bm25: bool, cache: Path | None, device: str) -> list[System]:
    # torch is imported only if there is an encoder.
    from evals.systems.bm25 import BM25System

    systems: list[System] = [BM25System()] if bm25 else []
    if encoders:
        from evals.systems.specification import open_systems
        from evals.vector_cache import VectorCache

        systems += open_systems(encoders, cache=None if cache is None else VectorCache(cache), device=device)
    if not systems:
        raise ConfigError("systems: got --no-bm25 and no --encoder; expected at least one of them.")
    return systems


def _dialogue_fits() -> Callable[[str], bool]:
    """Whether a joined dialogue is read in full, by the encoder that is trained by default."""
    from rag_embedder import Embedder

    encoder = Embedder.load(device="cpu")
    return lambda text: not encoder.preview(text, "convsearch", "query").is_truncated


def main() -> None:
    """Entry point of `python -m trainer.mine`."""
    run_command(app, "mine", interrupted="nothing was written.")


if __name__ == "__main__":
    main()
