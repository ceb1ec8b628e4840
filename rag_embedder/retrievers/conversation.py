"""Passages for the last question of a dialogue, without a language model rewriting it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_embedder.encoder import Embedder
from rag_embedder.errors import InputError, InvalidTextError
from rag_embedder.index import IndexSettings
from rag_embedder.retrievers.base import in_thread, retrieve_non_empty
from rag_embedder.retrievers.entries import is_blank
from rag_embedder.retrievers.passages import Passages
from rag_embedder.retrievers.turns import as_turns
from rag_embedder.search import AddReport, MetadataFilter, Mode
from rag_embedder.types import Chunk, Document, Hit, Turn

Dialogue = str | Sequence[Turn | Mapping[str, Any]]


class ConversationRetriever:
    """Documents, searched with a whole dialogue.

    The dialogue becomes one query: its user and assistant turns in order, joined by spaces, as LLM-Embedder was
    trained on QReCC. If that is longer than the model reads, whole turns are left out, the oldest first; the last
    turn is never cut.

    Opens the store of a `KnowledgeRetriever` too: the same documents then get a second set of vectors, made with this
    scenario's instructions, on the first retrieval.

    Args, errors: as `KnowledgeRetriever`.
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
    ) -> None:
        self._embedder = embedder
        self._scenario = scenario
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
        """Add or replace documents; see `KnowledgeRetriever.add`."""
        return list(self._passages.add(documents, show_progress=show_progress).ids)

    def update(self, documents: Iterable[Document | str], *, show_progress: bool | None = None) -> AddReport:
        """As `add`, but tells which documents were new, changed and unchanged."""
        return self._passages.add(documents, show_progress=show_progress)

    def query_text(self, dialogue: Dialogue) -> str:
        """The query that a dialogue becomes, without instruction; empty if its last question is.

        Raises:
            InputError: for a turn without role and content, or a dialogue that does not end with the user.
        """
        if isinstance(dialogue, str):
            return dialogue
        spoken = [turn for turn in as_turns(dialogue, field="dialogue") if turn.role in ("user", "assistant")]
        if spoken and spoken[-1].role != "user":
            raise InputError(
                f"dialogue: the last of its {len(spoken)} spoken turns is the {spoken[-1].role}'s; expected the "
                "user's question. Leave out what came after it."
            )
        if not spoken or is_blank(spoken[-1].content):
            return ""
        query = ""
        for turn in reversed(spoken):
            if is_blank(turn.content):
                continue
            longer = f"{turn.content.strip()} {query}".strip()
            # The newest turn is always taken; if it alone is too long, the encoder counts and reports the truncation.
            if query and self._embedder.preview(longer, self._scenario, "query").is_truncated:
                break
            query = longer
        return query

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
        return retrieve_non_empty(queries, lambda asked: self._passages.search(asked, k, filter=filter, mode=mode))

    async def aretrieve(
        self, dialogue: Dialogue, k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[Hit[Document | Chunk]]:
        """`retrieve` off the event loop; concurrent queries are encoded together."""
        return await in_thread(lambda: self.retrieve(dialogue, k, filter=filter, mode=mode))

    def delete(self, ids: Iterable[str]) -> int:
        """Remove documents with their chunks; returns how many were there. A chunk's is its `document_id`."""
        return self._passages.delete(ids)

    def __len__(self) -> int:
        return len(self._passages)

    def close(self) -> None:
        """Close the store; what was added is safe without it too."""
        self._passages.close()

    def __repr__(self) -> str:
        return repr(self._passages).replace("Passages", "ConversationRetriever", 1)

    def __enter__(self) -> "ConversationRetriever":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
