"""Passages that help a language model answer a question."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rag_embedder.encoder import Embedder
from rag_embedder.index import IndexSettings
from rag_embedder.retrievers.base import in_thread, retrieve_non_empty
from rag_embedder.retrievers.passages import Passages
from rag_embedder.search import AddReport, MetadataFilter, Mode
from rag_embedder.types import Chunk, Document, Hit


class KnowledgeRetriever:
    """Documents, found by meaning, by words, or both.

    Args:
        embedder: the encoder.
        path: folder of a durable store, opened or created; None keeps all in memory.
        scenario: instructions to use; "qa" unless the documents are for another need.
        index: "faiss" (default), "flat", "chroma", or the settings object of one of them.
        mode: "dense", "lexical" (BM25) or "hybrid" (both, fused by reciprocal rank); each call may choose again.
        chunk_tokens: split documents longer than this many tokens; hits are then `Chunk`s that know their span.
        chunk_overlap: tokens that a chunk shares with the one before.

    Raises:
        StoreError: if the path cannot be opened; its subclasses say why.
        ModelMismatchError: if the store was built with another model or other instructions.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        path: str | Path | None = None,
        scenario: str = "qa",
        index: str | IndexSettings = "faiss",
        mode: Mode = "dense",
        chunk_tokens: int | None = None,
        chunk_overlap: int = 0,
    ) -> None:
        self._passages = Passages(
            embedder,
            path,
            scenario=scenario,
            index=index,
            mode=mode,
            chunk_tokens=chunk_tokens,
            chunk_overlap=chunk_overlap,
        )

    @property
    def path(self) -> Path | None:
        """The durable store's folder; None if all is in memory."""
        return self._passages.path

    def add(self, documents: Iterable[Document | str], *, show_progress: bool | None = None) -> list[str]:
        """Add documents, or replace those with the same id; returns their ids, in order.

        When it returns, they are on disk. All of the call is added, or nothing. Unchanged documents are not
        encoded again. Without an id, a document gets one made from its title and text.

        Raises:
            InvalidTextError: for an empty text or one that is not text, with its position.
            DuplicateIdError: if one id is given twice.
            InputError: for an id or metadata that cannot be stored.
        """
        return list(self._passages.add(documents, show_progress=show_progress).ids)

    def update(self, documents: Iterable[Document | str], *, show_progress: bool | None = None) -> AddReport:
        """As `add`, but tells which documents were new, changed and unchanged."""
        return self._passages.add(documents, show_progress=show_progress)

    def retrieve(
        self, query: str, k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[Hit[Document | Chunk]]:
        """The `k` best passages, best first; an empty query finds nothing.

        Args:
            query: the question, without instruction.
            k: how many, from 1 to 10,000; fewer come back if fewer match.
            filter: only documents whose metadata match, such as {"year": {"gte": 2020}}; applied before ranking.
            mode: overrides the retriever's.
        """
        return self.retrieve_batch([query], k, filter=filter, mode=mode)[0]

    def retrieve_batch(
        self, queries: Iterable[str], k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[list[Hit[Document | Chunk]]]:
        """Hits for each query, in order; the queries are encoded together."""
        return retrieve_non_empty(queries, lambda asked: self._passages.search(asked, k, filter=filter, mode=mode))

    async def aretrieve(
        self, query: str, k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[Hit[Document | Chunk]]:
        """`retrieve` off the event loop; concurrent queries are encoded together."""
        return await in_thread(lambda: self.retrieve(query, k, filter=filter, mode=mode))

    def iter_metadata(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Id and metadata of every document, oldest first."""
        return self._passages.iter_metadata()

    def delete(self, ids: Iterable[str]) -> int:
        """Remove documents with their chunks; returns how many were there. A chunk's is its `document_id`."""
        return self._passages.delete(ids)

    def __len__(self) -> int:
        return len(self._passages)

    def close(self) -> None:
        """Close the store; what was added is safe without it too."""
        self._passages.close()

    def __repr__(self) -> str:
        return repr(self._passages).replace("Passages", "KnowledgeRetriever", 1)

    def __enter__(self) -> "KnowledgeRetriever":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
