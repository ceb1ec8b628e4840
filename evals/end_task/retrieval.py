"""What a system retrieves for an end task: systems rank sets of documents, end tasks want texts or positions.

Retrieval comes first and whole, in the system's own batches and through its cache; the language model comes after.
"""

from collections.abc import Mapping, Sequence

from evals.records import EvaluationSet, Query
from evals.systems import System
from evals.systems.texts import document_text
from rag_embedder.types import Document


def retrieve_texts(system: System, evaluation_set: EvaluationSet, k: int) -> dict[str, list[str]]:
    """Query id -> texts of its `k` best documents, best first: for knowledge and demonstrations."""
    texts = {document.id or "": document_text(document) for document in evaluation_set.documents}
    return {id_: [texts[each] for each in found] for id_, found in _found(system, evaluation_set, k).items()}


def judged_texts(evaluation_set: EvaluationSet, k: int) -> dict[str, list[str]]:
    """Query id -> texts of at most `k` of its relevant documents, the most relevant first, and no others."""
    texts = {document.id or "": document_text(document) for document in evaluation_set.documents}
    found: dict[str, list[str]] = {}
    for query in evaluation_set.queries:
        judged = {id_: score for id_, score in evaluation_set.qrels.get(query.id, {}).items() if score > 0}
        found[query.id] = [texts[id_] for id_ in sorted(judged, key=lambda id_: (-judged[id_], id_))[:k]]
    return found


def retrieve_positions(system: System, evaluation_set: EvaluationSet, k: int) -> dict[str, list[int]]:
    """Query id -> positions, among the documents of its own text, of its `k` best, best first: for memory."""
    positions: dict[str, int] = {}
    counts: dict[object, int] = {}
    for document in evaluation_set.documents:
        group = document.metadata.get("within")
        positions[document.id or ""] = counts.get(group, 0)
        counts[group] = counts.get(group, 0) + 1
    return {id_: [positions[each] for each in found] for id_, found in _found(system, evaluation_set, k).items()}


def texts_by_group(evaluation_set: EvaluationSet) -> dict[str, list[str]]:
    """The documents' texts of each conversation or text, in order: what positions count."""
    groups: dict[str, list[str]] = {}
    for document in evaluation_set.documents:
        groups.setdefault(document.metadata["within"], []).append(document_text(document))
    return groups


def memory_set(
    memories: Mapping[str, Sequence[str]], queries: Sequence[Query], *, name: str, scenario: str
) -> EvaluationSet:
    """Memories by group, in order, as a set: each query searches the group that it is `within`."""
    return EvaluationSet(
        name=name,
        split="memories",
        scenario=scenario,
        suite="memory",
        documents=tuple(
            # Systems order equal scores by id: with leading zeros, that is by position.
            Document(text, id=f"{group}#{position:06d}", metadata={"within": group})
            for group, texts in memories.items()
            for position, text in enumerate(texts)
        ),
        queries=tuple(queries),
        qrels={},
    )


def _found(system: System, evaluation_set: EvaluationSet, k: int) -> dict[str, list[str]]:
    rankings = system.index(evaluation_set).search(evaluation_set.queries, k)
    return {
        query.id: [id_ for id_, _ in ranking] for query, ranking in zip(evaluation_set.queries, rankings, strict=True)
    }
