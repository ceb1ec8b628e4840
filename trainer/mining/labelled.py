"""Sets with judgements: passages, tools and documents of dialogues for all queries, or windows of one conversation."""

from collections.abc import Mapping, Sequence

from evals.datasets.selection import Selection
from evals.datasets.suites import READERS
from evals.records import EvaluationSet, Query
from evals.systems.texts import document_text
from rag_embedder.types import Document
from trainer.mining.queries import TrainingQueries
from trainer.mining.source import MiningSource


def read_labelled(source: MiningSource, selection: Selection) -> TrainingQueries:
    """The split as evaluation reads it. A window of a long text (scenario lrlm) continues in the next one."""
    found: EvaluationSet = READERS[source.kind](
        source.folder,
        source.split,
        scenario=source.scenario,
        suite=source.suite,
        name=source.name,
        limit=selection.limit,
        seed=selection.seed,
        max_documents=selection.max_documents,
    )
    continues = source.kind == "memory" and source.scenario == "lrlm"
    if not continues:
        return TrainingQueries(documents=found)
    return TrainingQueries(
        documents=found, continuations=following(found.documents), prompts=on_own_lines(found.queries)
    )


def on_own_lines(queries: Sequence[Query]) -> Mapping[str, str]:
    """Questions about a text, by id, with line breaks around: the template of long texts adds none between pieces."""
    return {query.id: f"\n{query.text}\n" for query in queries}


def following(documents: Sequence[Document]) -> Mapping[str, str]:
    """The text of the next document of the same text, on a line of its own, by id; documents are in its order."""
    last: dict[object, str] = {}
    texts: dict[str, str] = {}
    for document in documents:
        within = document.metadata.get("within")
        if within in last:
            texts[last[within]] = f"\n{document_text(document)}"
        last[within] = document.id or ""
    return texts
