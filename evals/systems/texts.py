"""The texts that every system is given: the same for all, so that only the systems differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from evals.records import EvaluationSet, Query
from rag_embedder.retrievers.passages import passage_text
from rag_embedder.retrievers.turns import join_dialogue
from rag_embedder.types import Document, Turn


def document_text(document: Document) -> str:
    """Title, space, text: the passage template of LLM-Embedder, and what our retrievers encode."""
    return passage_text({"title": document.title, "text": document.text})


def query_text(query: Query, scenario: str, fits: Callable[[str], bool] = lambda _: True) -> str:
    """The query's own text; in conversational search its history before it, as much as `fits`.

    Elsewhere the history is left out, as our retrievers do: a tool is asked for with the request, not the dialogue.
    """
    if scenario != "convsearch":
        return query.text
    return join_dialogue([*query.history, Turn("user", query.text)], fits)


def groups_of(evaluation_set: EvaluationSet) -> Mapping[str | None, list[int]]:
    """Positions of the documents that are searched together, in ascending order of id: one group, or one per text.

    Systems number documents in this order, so that equal scores are ordered by id.
    """
    groups: dict[str | None, list[int]] = {}
    by_id = sorted(range(len(evaluation_set.documents)), key=lambda position: _id(evaluation_set, position))
    for position in by_id:
        groups.setdefault(evaluation_set.documents[position].metadata.get("within"), []).append(position)
    return groups


def queries_by_group(queries: Sequence[Query]) -> Iterator[tuple[str | None, list[int]]]:
    """(group, positions of its queries): queries are searched together with those of their own text."""
    groups: dict[str | None, list[int]] = {}
    for position, query in enumerate(queries):
        groups.setdefault(query.within, []).append(position)
    yield from groups.items()


def _id(evaluation_set: EvaluationSet, position: int) -> str:
    return evaluation_set.documents[position].id or ""
