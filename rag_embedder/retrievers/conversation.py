"""Passages for the last question of a dialogue, without a language model rewriting it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_embedder.encoder import Embedder
from rag_embedder.errors import InvalidTextError
from rag_embedder.index import IndexSettings
from rag_embedder.protocols import PairScorer
from rag_embedder.retrievers.base import in_thread
from rag_embedder.retrievers.passages import PassageStore
from rag_embedder.retrievers.second_stage import RERANK_DEPTH
from rag_embedder.retrievers.turns import as_turns, join_dialogue
from rag_embedder.search import MetadataFilter, Mode
from rag_embedder.types import Chunk, Document, Hit, Turn

Dialogue = str | Sequence[Turn | Mapping[str, Any]]


class ConversationRetriever(PassageStore):
    """Documents, searched with a whole dialogue.

    The dialogue becomes one query: its user and assistant turns in order, joined by spaces, as LLM-Embedder was
    trained on QReCC. If that is longer than the model (or its reranker) reads, whole turns are left out, the oldest
    first; the last turn is never cut.

    Opens the store of a `KnowledgeRetriever` too: the same documents then get a second set of vectors, made with this
    scenario's instructions, on the first retrieval.

    Arguments and errors: see `PassageStore`.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        path: str | Path | None = None,
        scenario: str = "convsearch",
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

    def query_text(self, dialogue: Dialogue) -> str:
        """The query that a dialogue becomes, without instruction; empty if its last question is.

        Raises:
            InputError: for a turn without role and content, or a dialogue that does not end with the user.
        """
        if isinstance(dialogue, str):
            return dialogue
        turns = as_turns(dialogue, field="dialogue")
        return join_dialogue(turns, self._reads_whole)

    def _reads_whole(self, text: str) -> bool:
        is_cut = self._embedder.preview(text, self._scenario, "query").is_truncated
        return not is_cut and self._second_stage.fits(text)

    def retrieve(
        self, dialogue: Dialogue, k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[Hit[Document | Chunk]]:
        """The `k` best passages for the last question of a dialogue, best first.

        Args:
            dialogue: `Turn`s or {"role", "content"} dicts, oldest first, the user's question last; or a single string.
            k: how many, from 1 to 10,000; fewer come back if fewer match.
            filter: only documents whose metadata match; applied before ranking.
            mode: overrides the retriever's.
        """
        return self.retrieve_batch([dialogue], k, filter=filter, mode=mode)[0]

    def retrieve_batch(
        self,
        dialogues: Iterable[Dialogue],
        k: int = 5,
        *,
        filter: MetadataFilter | None = None,
        mode: Mode | None = None,
    ) -> list[list[Hit[Document | Chunk]]]:
        """Hits for each dialogue, in order; they are encoded together."""
        if isinstance(dialogues, str | bytes | Mapping) or not isinstance(dialogues, Iterable):
            raise InvalidTextError(
                f"dialogues: got a bare {type(dialogues).__name__}; expected a list of dialogues. Wrap it in a list."
            )
        queries = [self.query_text(dialogue) for dialogue in dialogues]
        return self._retrieve_texts(queries, k, filter, mode)

    async def aretrieve(
        self, dialogue: Dialogue, k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[Hit[Document | Chunk]]:
        """`retrieve` off the event loop; concurrent queries are encoded together."""
        return await in_thread(lambda: self.retrieve(dialogue, k, filter=filter, mode=mode))
