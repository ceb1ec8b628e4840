"""Passages that help a language model answer a question."""

from collections.abc import Iterable
from pathlib import Path

from rag_embedder.encoder import Embedder
from rag_embedder.index import IndexSettings
from rag_embedder.protocols import PairScorer
from rag_embedder.retrievers.base import in_thread
from rag_embedder.retrievers.passages import PassageStore
from rag_embedder.retrievers.second_stage import RERANK_DEPTH
from rag_embedder.search import MetadataFilter, Mode
from rag_embedder.types import Chunk, Document, Hit


class KnowledgeRetriever(PassageStore):
    """Documents, found by meaning, by words, or both. Arguments and errors: see `PassageStore`."""

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
        reranker: PairScorer | None = None,
        rerank_depth: int = RERANK_DEPTH,
    ) -> None:
        super().__init__(
            embedder,
            path=path,
            scenario=scenario,
            index=index,
            mode=mode,
            chunk_tokens=chunk_tokens,
            chunk_overlap=chunk_overlap,
            reranker=reranker,
            rerank_depth=rerank_depth,
        )

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
        return self._retrieve_texts(queries, k, filter, mode)

    async def aretrieve(
        self, query: str, k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[Hit[Document | Chunk]]:
        """`retrieve` off the event loop; concurrent queries are encoded together."""
        return await in_thread(lambda: self.retrieve(query, k, filter=filter, mode=mode))
