"""The queries that the page shows in full: those that gained and lost most between two systems, with their top hits."""

import gzip
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from urllib.parse import unquote

from evals.records import EvaluationSet, SetResult
from evals.results import Results
from evals.runner import run_file

NUM_HITS = 5
MOST_PER_SIDE = 5
"""Queries that gained, and queries that lost, between any two systems on a set: at most so many of each."""

_SIZE_LIMIT = 1_300_000
"""Characters of all examples together; beyond it, fewer queries a side."""

_QUERY_LENGTH, _TURN_LENGTH, _DOCUMENT_LENGTH, _NUM_TURNS = 600, 240, 220, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBy:
    """What one system found for a query: (document id, relevance or None where nobody judged), best first.

    `first_relevant` is the rank of the first relevant document, None if there is none in the run. Without the run's
    file, `hits` is None.
    """

    hits: Sequence[tuple[str, int | None]] | None
    first_relevant: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleQuery:
    """One query, cut to a length that can be read; `text` is None where the set is not at hand."""

    id: str
    text: str | None
    history: Sequence[tuple[str, str]]
    found: Mapping[str, FoundBy]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetExamples:
    """The shown queries of one set, in the order of their ids, and the texts of the documents among their hits.

    Between any two systems, the first `per_side` that gained and that lost, by `thousandths`, are all here.
    """

    queries: Sequence[ExampleQuery]
    documents: Mapping[str, str]
    per_side: int


def choose_examples(
    results: Results, folder: Path, sets: Mapping[str, EvaluationSet], *, metric: str
) -> dict[str, SetExamples]:
    """Examples by set, as many as a page may hold; none for a set that fewer than two systems have.

    Rankings are read from the run files in `folder`. One that is missing or damaged leaves its hits out.
    """
    by_set = {key: [each for each in results.results if each.key == key] for key in results.keys()}  # noqa: SIM118
    most = {key: _examples(found, folder, sets.get(key), metric) for key, found in by_set.items() if len(found) > 1}
    chosen = most
    for per_side in range(MOST_PER_SIDE, 0, -1):
        chosen = {key: _fewer(examples, by_set[key], per_side, metric) for key, examples in most.items()}
        if sum(map(_size, chosen.values())) <= _SIZE_LIMIT:
            return chosen
    return _within_limit(chosen)


def thousandths(value: float) -> int:
    """A metric's value as the page keeps it."""
    return round(1000 * value)


def largest_changes(a: Mapping[str, float], b: Mapping[str, float], count: int) -> list[str]:
    """Queries that b improves most on a, then those it worsens most: `count` of each at most, ties by id."""
    changes = {query: thousandths(b[query]) - thousandths(a[query]) for query in sorted(a) if query in b}
    gained = sorted((query for query in changes if changes[query] > 0), key=lambda query: -changes[query])
    lost = sorted((query for query in changes if changes[query] < 0), key=lambda query: changes[query])
    return gained[:count] + lost[:count]


def read_rankings(file: Path, queries: Collection[str]) -> dict[str, list[str]] | None:
    """Document ids, best first, of some queries of a run that `evals.trec.write_run` wrote; None without the file.

    Reading a few queries of many this way takes a tenth of the time of checking the whole run again.
    """
    rankings: dict[str, list[str]] = {}
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                query, _, document, _ = line.split(" ", 3)
                if unquote(query) in queries:
                    rankings.setdefault(unquote(query), []).append(unquote(document))
    except (OSError, EOFError, ValueError, zlib.error):
        return None
    return rankings


def _examples(
    found: Sequence[SetResult], folder: Path, evaluation_set: EvaluationSet | None, metric: str
) -> SetExamples:
    ids = sorted(_chosen(found, MOST_PER_SIDE, metric))
    asked = {} if evaluation_set is None else {query.id: query for query in evaluation_set.queries}
    qrels = {} if evaluation_set is None else evaluation_set.qrels
    rankings = {each.system: read_rankings(run_file(folder, each.system, each.key), set(ids)) for each in found}
    queries = []
    for id_ in ids:
        query = asked.get(id_)
        queries.append(
            ExampleQuery(
                id=id_,
                text=None if query is None else _cut(query.text, _QUERY_LENGTH),
                history=[]
                if query is None
                else [(turn.role, _cut(turn.content, _TURN_LENGTH)) for turn in query.history[-_NUM_TURNS:]],
                found={name: _found_by(ranking, id_, qrels.get(id_, {})) for name, ranking in rankings.items()},
            )
        )
    return SetExamples(queries=queries, documents=_texts(queries, evaluation_set), per_side=MOST_PER_SIDE)


def _found_by(rankings: Mapping[str, Sequence[str]] | None, query: str, judged: Mapping[str, int]) -> FoundBy:
    if rankings is None:
        return FoundBy(hits=None)
    ranking = rankings.get(query, [])
    relevant = (rank for rank, document in enumerate(ranking, start=1) if judged.get(document, 0) > 0)
    return FoundBy(
        hits=[(document, judged.get(document)) for document in ranking[:NUM_HITS]], first_relevant=next(relevant, None)
    )


def _texts(queries: Sequence[ExampleQuery], evaluation_set: EvaluationSet | None) -> dict[str, str]:
    wanted = set(_hit_ids(queries))
    documents = [] if evaluation_set is None else evaluation_set.documents
    return {
        document.id or "": _cut(f"{document.title} {document.text}", _DOCUMENT_LENGTH)
        for document in documents
        if document.id in wanted
    }


def _hit_ids(queries: Sequence[ExampleQuery]) -> Iterator[str]:
    for query in queries:
        for found in query.found.values():
            yield from (document for document, _ in found.hits or ())


def _chosen(found: Sequence[SetResult], per_side: int, metric: str) -> set[str]:
    pairs = combinations([each.values[metric] for each in found], 2)
    return {query for a, b in pairs for query in largest_changes(a, b, per_side)}


def _fewer(examples: SetExamples, found: Sequence[SetResult], per_side: int, metric: str) -> SetExamples:
    kept = _chosen(found, per_side, metric)
    return _only([query for query in examples.queries if query.id in kept], examples, per_side)


def _only(queries: Sequence[ExampleQuery], examples: SetExamples, per_side: int) -> SetExamples:
    hits = set(_hit_ids(queries))
    texts = {id_: text for id_, text in examples.documents.items() if id_ in hits}
    return SetExamples(queries=queries, documents=texts, per_side=per_side)


def _within_limit(chosen: Mapping[str, SetExamples]) -> dict[str, SetExamples]:
    """Whole sets, in order, until the page is full; the others are shown without examples."""
    kept, size = {}, 0
    for key, examples in chosen.items():
        size += _size(examples)
        if size <= _SIZE_LIMIT:
            kept[key] = examples
    return kept


def _size(examples: SetExamples) -> int:
    """About how many characters it adds to the page."""
    texts = sum(len(id_) + len(text) + 8 for id_, text in examples.documents.items())
    for query in examples.queries:
        hits = sum(8 * len(found.hits or ()) + 12 for found in query.found.values())
        texts += len(query.text or "") + sum(len(text) + 20 for _, text in query.history) + hits + 40
    return texts


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"
