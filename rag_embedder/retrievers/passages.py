"""Documents as passages in a store: whole, or in chunks that know their span."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rag_embedder.chunking import chunk_spans
from rag_embedder.encoder import Embedder
from rag_embedder.errors import ConfigError, InvalidTextError
from rag_embedder.index import IndexSettings
from rag_embedder.protocols import PairScorer
from rag_embedder.retrievers.base import StoreOwner, retrieve_non_empty
from rag_embedder.retrievers.entries import NewEntries, check_document_text, check_list, content_id, digest
from rag_embedder.retrievers.second_stage import SecondStage
from rag_embedder.search import (
    AddReport,
    Found,
    MetadataFilter,
    Mode,
    SemanticSearch,
    check_encoder,
    check_k,
    check_mode,
)
from rag_embedder.store import NewEntry, NewPart, Store, StoredItem
from rag_embedder.store.json_values import check_id
from rag_embedder.texts import check_text, check_texts
from rag_embedder.types import Chunk, Document, Hit

KIND = "passage"


class PassageStore(StoreOwner):
    """What the knowledge and the conversation retriever share: documents in a store. They differ in what a query is.

    Args:
        embedder: the encoder.
        path: folder of a durable store, opened or created; None keeps all in memory.
        scenario: instructions to use.
        index: "faiss" (default), "flat", "chroma", or the settings object of one of them.
        mode: "dense", "lexical" (BM25) or "hybrid" (both, fused by reciprocal rank); each call may choose again.
        chunk_tokens: split documents longer than this many tokens; hits are then `Chunk`s that know their span.
        chunk_overlap: tokens that a chunk shares with the one before.
        reranker: a `Reranker`, or what has its `score_pairs`: orders the best of what `mode` finds
            after all filters. Hits have its score then, and the first stage's as `retrieval_score`.
        rerank_depth: how many of the best it reads; at least `k`.

    Raises:
        StoreError: if the path cannot be opened; its subclasses say why.
        ModelMismatchError: if the store was built with another model or other instructions.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        path: str | Path | None,
        scenario: str,
        index: str | IndexSettings,
        mode: Mode,
        chunk_tokens: int | None,
        chunk_overlap: int,
        reranker: PairScorer | None,
        rerank_depth: int,
    ) -> None:
        check_encoder(embedder, scenario)
        check_mode(mode)
        _check_chunking(chunk_tokens, chunk_overlap)
        self._second_stage = SecondStage(reranker, rerank_depth)
        self._embedder = embedder
        self._scenario = scenario
        self._mode: Mode = mode
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap = chunk_overlap
        store = Store.open(path)
        try:
            self._search = SemanticSearch(
                embedder, store, kind=KIND, scenario=scenario, render=passage_text, index=index
            )
        except BaseException:
            store.close()
            raise
        super().__init__(store, [self._search])

    def add(self, documents: Iterable[Document | str], *, show_progress: bool | None = None) -> list[str]:
        """Add documents, or replace those with the same id; returns their ids, in order.

        When it returns, they are on disk. All of the call is added, or nothing. Unchanged documents are not
        encoded again. Without an id, a document gets one made from its title and text.

        Raises:
            InvalidTextError: for an empty text or one that is not text, with its position.
            DuplicateIdError: if one id is given twice.
            InputError: for an id or metadata that cannot be stored.
        """
        return list(self.update(documents, show_progress=show_progress).ids)

    def update(self, documents: Iterable[Document | str], *, show_progress: bool | None = None) -> AddReport:
        """As `add`, but tells which documents were new, changed and unchanged."""
        check_list(documents, field="documents", expected="Document or str")
        entries = NewEntries()
        for position, document in enumerate(documents):
            entry, has_own_id = self._entry(document, position)
            entries.append(entry, has_own_id=has_own_id)
        report = self._search.add(list(entries), show_progress=show_progress)
        return replace(report, ids=tuple(entries.ids))

    def iter_metadata(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Id and metadata of every document, oldest first."""
        return ((item.id, item.metadata) for item in self._store.iter_items(KIND) if item.part == 0)

    def delete(self, ids: Iterable[str]) -> int:
        """Remove documents with their chunks; returns how many were there. A chunk's is its `document_id`."""
        return self._store.delete(KIND, "", check_texts(ids, field="ids"))

    def __len__(self) -> int:
        return self._store.count(KIND)

    def _retrieve_texts(
        self, queries: Iterable[str], k: int, filter: MetadataFilter | None, mode: Mode | None
    ) -> list[list[Hit[Document | Chunk]]]:
        check_k(k)
        chosen, stage = self._mode if mode is None else mode, self._second_stage

        def retrieve(asked: list[str]) -> list[list[Hit[Document | Chunk]]]:
            found = self._search.search(asked, stage.depth(k), filter=filter, mode=chosen)
            return [_hits(ranking[:k]) for ranking in stage.order(asked, found, self._search.text)]

        return retrieve_non_empty(queries, retrieve)

    def _entry(self, document: Document | str, position: int) -> tuple[NewEntry, bool]:
        if isinstance(document, str):
            document = Document(document)
        if not isinstance(document, Document):
            raise InvalidTextError(
                f"documents[{position}]: got {type(document).__name__}; expected Document or str. Nothing was added."
            )
        text = check_document_text(document.text, field=f"documents[{position}].text")
        title = check_text(document.title, field=f"documents[{position}].title")
        id_ = content_id(title, text) if document.id is None else check_id(document.id, f"documents[{position}].id")
        payloads = self._payloads(title, text)
        parts = tuple(NewPart(payload, document.metadata) for payload in payloads)
        return NewEntry(id_, parts, digest(payloads, document.metadata)), document.id is not None

    def _payloads(self, title: str, text: str) -> list[dict[str, Any]]:
        whole: dict[str, Any] = {"title": title, "text": text}
        if self._chunk_tokens is None:
            return [whole]
        offsets = self._embedder.token_offsets(text)
        if len(offsets) <= self._chunk_tokens:
            return [whole]
        spans = chunk_spans(text, offsets, chunk_tokens=self._chunk_tokens, overlap_tokens=self._chunk_overlap)
        return [{"title": title, "text": text[start:end], "start": start, "end": end} for start, end in spans]


def passage_text(payload: Mapping[str, Any]) -> str:
    """What is encoded and searched: title, space, text, the passage template of LLM-Embedder."""
    return f"{payload['title']} {payload['text']}" if payload["title"] else payload["text"]


def _hits(ranking: Sequence[Found]) -> list[Hit[Document | Chunk]]:
    """Stored passages as hits on documents and chunks."""
    return [
        Hit(item=item, id=_hit_id(item), score=found.score, rank=rank, retrieval_score=found.retrieval_score)
        for rank, found in enumerate(ranking, start=1)
        for item in (_passage(found.item),)
    ]


def _hit_id(item: Document | Chunk) -> str:
    return item.id or ""


def _passage(item: StoredItem) -> Document | Chunk:
    payload = item.payload
    if "start" not in payload:
        return Document(text=payload["text"], id=item.id, title=payload["title"], metadata=item.metadata)
    return Chunk(
        id=f"{item.id}#{item.part}",
        text=payload["text"],
        document_id=item.id,
        start=payload["start"],
        end=payload["end"],
        title=payload["title"],
        metadata=item.metadata,
    )


def _check_chunking(chunk_tokens: int | None, chunk_overlap: int) -> None:
    if chunk_tokens is not None and (not isinstance(chunk_tokens, int) or chunk_tokens < 8):
        raise ConfigError(f"chunk_tokens: got {chunk_tokens!r}; expected None or an int of at least 8.")
    if (
        not isinstance(chunk_overlap, int)
        or chunk_overlap < 0
        or (chunk_tokens is not None and chunk_overlap >= chunk_tokens)
    ):
        raise ConfigError(f"chunk_overlap: got {chunk_overlap!r}; expected an int from 0 to less than chunk_tokens.")
