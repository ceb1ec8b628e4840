"""Questions about a text that is cut into chunks, without judgements: only a reward can say which chunks help."""

from collections.abc import Container
from pathlib import Path

from evals.datasets.beir import read_answers
from evals.datasets.conversations import find_documents
from evals.datasets.selection import Selection
from evals.datasets.validation import Reading
from evals.records import EvaluationSet, Query
from rag_embedder.types import Document
from trainer.mining.draws import draw
from trainer.mining.labelled import following, on_own_lines
from trainer.mining.queries import TrainingQueries
from trainer.mining.source import MiningSource


def read_chunked_questions(source: MiningSource, selection: Selection) -> TrainingQueries:
    """Candidates of a question are the chunks of its own text, each with the chunk that follows.

    Files, each plain or with .gz: `documents.<split>.jsonl` (`_id`, `chunks`, a list of texts) and
    `queries.<split>.jsonl` (`_id`, `doc_id`, `text`, perhaps `answers`). Chunk k of text D, from 0, has the id D#k.
    """
    reading = Reading(f"{source.name}.{source.split}")
    about = find_documents(reading, source.folder, source.split)
    names = [f"queries.{source.split}.jsonl.gz", f"queries.{source.split}.jsonl"]
    asked = reading.find(source.folder, names, what="queries")
    reading.raise_problems()
    documents = _chunks(reading, about)
    queries = _questions(reading, asked, documents)
    if not queries:
        reading.problem("no query", asked)
    reading.raise_problems()
    drawn = draw(list(queries.values()), selection, f"{source.name}.{source.split}")
    kept = [document for id_ in dict.fromkeys(query.within or "" for query in drawn) for document in documents[id_]]
    return TrainingQueries(
        documents=EvaluationSet(
            name=source.name,
            split=source.split,
            scenario=source.scenario,
            suite=source.suite,
            documents=kept,
            queries=drawn,
            qrels={},
            checksum=reading.checksum,
        ),
        continuations=following(kept),
        prompts=on_own_lines(drawn),
    )


def _chunks(reading: Reading, file: Path) -> dict[str, list[Document]]:
    """The chunks of every text, in order, by its id; blank ones are left out."""
    documents: dict[str, list[Document]] = {}
    for row in reading.rows(file):
        id_ = row.new_id(documents)
        documents[id_] = [
            Document(chunk, id=f"{id_}#{number}", metadata={"within": id_})
            for number, chunk in enumerate(row.texts("chunks"))
            if chunk.strip()
        ]
    return documents


def _questions(reading: Reading, file: Path, texts: Container[str]) -> dict[str, Query]:
    queries: dict[str, Query] = {}
    for row in reading.rows(file):
        within = row.id("doc_id")
        if within not in texts:
            row.problem(f"there is no text {within!r}")
        id_ = row.new_id(queries)
        text = row.text("text", may_be_blank=False)
        queries[id_] = Query(id=id_, text=text, within=within, answers=read_answers(row))
    return queries
