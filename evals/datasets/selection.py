"""From everything a data set's files hold to what is measured: labelled queries, or a seeded subset of them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evals.datasets.validation import Reading
from evals.records import EvaluationSet, Qrels, Query
from rag_embedder.errors import ConfigError
from rag_embedder.types import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How much of a set is measured.

    Args:
        limit: at most so many queries, drawn with `seed`; a smaller limit draws a part of what a larger one does.
        seed: for the draws; the name of the set is mixed in.
        max_documents: at most so many documents: all that are relevant to a drawn query (even if those are more), the
            rest drawn. For trying out only: a smaller corpus is an easier one.

    Raises:
        ConfigError: if a number is below 1.
    """

    limit: int | None = None
    seed: int = 0
    max_documents: int | None = None

    def __post_init__(self) -> None:
        for name, number in (("limit", self.limit), ("max_documents", self.max_documents)):
            if number is not None and number < 1:
                raise ConfigError(f"{name} is {number}; expected 1 or more, or None for all.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is known of a set before it is read."""

    name: str
    split: str
    scenario: str
    suite: str
    is_zero_shot: bool | None


def finish(
    reading: Reading,
    description: Description,
    documents: Sequence[Document],
    queries: Sequence[Query],
    qrels: Qrels,
    selection: Selection,
) -> EvaluationSet:
    """The set, if its files hold no problem.

    Queries without a relevant document are left out and counted: no system could answer them. So are documents that
    no query may search, which happens only where queries name a conversation.

    Raises:
        DataSetError: with all problems of the reading, or if no query has a relevant document.
    """
    labelled = [query for query in queries if any(score > 0 for score in qrels.get(query.id, {}).values())]
    if not labelled:
        reading.problem(f"split {description.split!r} has no query with a relevant document")
    reading.raise_problems()
    drawn = _draw_queries(labelled, selection, f"{description.name}.{description.split}")
    kept = _draw_documents(_reachable(documents, drawn), drawn, qrels, selection)
    whole = EvaluationSet(
        name=description.name,
        split=description.split,
        scenario=description.scenario,
        suite=description.suite,
        is_zero_shot=description.is_zero_shot,
        documents=kept,
        queries=drawn,
        qrels={query.id: qrels[query.id] for query in drawn},
        checksum=reading.checksum,
        num_unlabelled=len(queries) - len(labelled),
    )
    return whole if len(kept) == len(documents) else replace(whole, qrels=_restricted(whole))


def _draw_queries(queries: Sequence[Query], selection: Selection, key: str) -> Sequence[Query]:
    if selection.limit is None or selection.limit >= len(queries):
        return queries
    order = list(range(len(queries)))
    random.Random(f"queries {key} {selection.seed}").shuffle(order)
    return [queries[position] for position in sorted(order[: selection.limit])]


def _reachable(documents: Sequence[Document], queries: Sequence[Query]) -> Sequence[Document]:
    searched = {query.within for query in queries}
    if None in searched:
        return documents
    return [document for document in documents if document.metadata.get("within") in searched]


def _draw_documents(
    documents: Sequence[Document], queries: Sequence[Query], qrels: Qrels, selection: Selection
) -> Sequence[Document]:
    if selection.max_documents is None or selection.max_documents >= len(documents):
        return documents
    relevant = {id_ for query in queries for id_, score in qrels[query.id].items() if score > 0}
    others = [position for position, document in enumerate(documents) if document.id not in relevant]
    random.Random(f"documents {selection.seed}").shuffle(others)
    distractors = set(others[: max(0, selection.max_documents - len(relevant))])
    return [
        document for position, document in enumerate(documents) if document.id in relevant or position in distractors
    ]


def _restricted(chosen: EvaluationSet) -> Mapping[str, Mapping[str, int]]:
    """Judgements about the documents that were kept: the others had a score of 0 or less."""
    kept = {document.id for document in chosen.documents}
    return {
        query: {document: score for document, score in scores.items() if document in kept}
        for query, scores in chosen.qrels.items()
    }
