"""Dialogues and long texts without questions: what comes next is asked for, what came before are the candidates.

(LLM-Embedder, arXiv 2310.07554: Multi-Session Chat and long-range language modelling.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from evals.datasets.conversations import find_documents, read_conversations
from evals.datasets.selection import Selection
from evals.datasets.texts import read_texts
from evals.datasets.validation import Reading
from evals.errors import DataSetError
from evals.records import EvaluationSet, Query
from rag_embedder import Embedder
from rag_embedder.chunking import chunk_spans
from rag_embedder.retrievers.memory import exchange_text
from rag_embedder.retrievers.turns import group_exchanges
from rag_embedder.types import Document
from trainer.mining.checksum import checksum_of
from trainer.mining.draws import draw
from trainer.mining.queries import TrainingQueries
from trainer.mining.source import MiningSource

CHUNK_TOKENS = 128
_MAX_CHARACTERS = 160_000
"""Of each text, as in the paper."""


def read_dialogues(source: MiningSource, selection: Selection) -> TrainingQueries:
    """One query per reply that has an exchange before it: the user's words; the answer is the reply.

    Candidates are all earlier exchanges of the same dialogue, as lines of `Speaker 1: ...` and `Speaker 2: ...`.
    """
    documents: list[Document] = []
    queries: list[tuple[Query, int]] = []
    for conversation in read_conversations(source.folder, source.split, name=source.name):
        exchanges = group_exchanges(conversation.turns)
        for number, turns in enumerate(exchanges):
            id_ = f"{conversation.id}#{number}"
            text = exchange_text({"turns": [(turn.role, turn.content) for turn in turns]})
            documents.append(Document(text, id=id_, metadata={"within": conversation.id}))
            if number > 0 and len(turns) > 1 and turns[0].role == "user":
                query = Query(id=id_, text=turns[0].content, within=conversation.id, answers=(turns[1].content,))
                queries.append((query, number))
    return _earlier_only(source, selection, documents, queries)


def read_long_texts(source: MiningSource, selection: Selection) -> TrainingQueries:
    """One query per chunk of 128 tokens that has two before it; the answer is the chunk after it.

    A candidate is an earlier chunk whose continuation, the chunk after it, is earlier than the query too. Tokens are
    those of the shipped encoder. What a language model reads, prompt, answer and continuation, begins with the white
    space that stands before the chunk, so that joined pieces are the text itself.
    """
    encoder = Embedder.load(device="cpu")
    documents: list[Document] = []
    queries: list[tuple[Query, int]] = []
    pieces: dict[str, str] = {}
    continuations: dict[str, str] = {}
    for text in read_texts(source.folder, source.split, name=source.name):
        made = _pieces(encoder, text.text[:_MAX_CHARACTERS])
        ids = [f"{text.id}#{number}" for number in range(len(made))]
        documents += [
            Document(piece.lstrip(), id=id_, metadata={"within": text.id}) for id_, piece in zip(ids, made, strict=True)
        ]
        pieces.update(zip(ids, made, strict=True))
        continuations.update(zip(ids, made[1:], strict=False))
        for number in range(2, len(made) - 1):
            query = Query(id=ids[number], text=made[number].lstrip(), within=text.id, answers=(made[number + 1],))
            queries.append((query, number - 1))
    found = _earlier_only(source, selection, documents, queries)
    prompts = {query.id: pieces[query.id] for query in found.documents.queries}
    return replace(found, continuations=continuations, prompts=prompts)


def _pieces(encoder: Embedder, text: str) -> list[str]:
    """The chunks of a text, each with what stands between it and the chunk before; blank ones are part of the next."""
    pieces: list[str] = []
    last = 0
    for start, end in chunk_spans(text, encoder.token_offsets(text), chunk_tokens=CHUNK_TOKENS):
        if text[start:end].strip():
            pieces.append(text[last:end])
            last = end
    return pieces


def _earlier_only(
    source: MiningSource,
    selection: Selection,
    documents: Sequence[Document],
    queries: Sequence[tuple[Query, int]],
) -> TrainingQueries:
    """The queries that are drawn, each with how many documents of its text it may see; the rest is hidden from it."""
    if not queries:
        raise DataSetError(f"{source.name}.{source.split}", ["nothing in it has a history to be found in"])
    drawn = draw(queries, selection, f"{source.name}.{source.split}")
    asked_within = {query.within for query, _ in drawn}
    kept = [document for document in documents if document.metadata["within"] in asked_within]
    ids = _ids_by_text(kept)
    return TrainingQueries(
        documents=EvaluationSet(
            name=source.name,
            split=source.split,
            scenario=source.scenario,
            suite=source.suite,
            documents=kept,
            queries=[query for query, _ in drawn],
            qrels={},
            checksum=checksum_of(find_documents(Reading(source.name), source.folder, source.split)),
        ),
        hidden={query.id: frozenset(ids[query.within][num_seen:]) for query, num_seen in drawn},
    )


def _ids_by_text(documents: Iterable[Document]) -> dict[str | None, list[str]]:
    ids: dict[str | None, list[str]] = {}
    for document in documents:
        ids.setdefault(document.metadata["within"], []).append(document.id or "")
    return ids
