"""What a user said before, and long texts they gave: found again when it helps, for that user alone."""

import secrets
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any

from rag_embedder.chunking import chunk_spans
from rag_embedder.encoder import Embedder
from rag_embedder.errors import ConfigError
from rag_embedder.index import IndexSettings
from rag_embedder.protocols import PairScorer
from rag_embedder.retrievers.base import StoreOwner, check_max_tokens, in_thread, retrieve_non_empty
from rag_embedder.retrievers.entries import check_document_text, content_id, digest
from rag_embedder.retrievers.memory_checks import check_name, check_recency, check_score_threshold, check_user
from rag_embedder.retrievers.memory_context import write_context
from rag_embedder.retrievers.second_stage import RERANK_DEPTH, SecondStage
from rag_embedder.retrievers.turns import as_turns, continued, group_exchanges
from rag_embedder.search import MAX_K, Found, Mode, SemanticSearch, check_encoder, check_k, check_mode
from rag_embedder.store import NewEntry, NewPart, Store, StoredItem
from rag_embedder.texts import check_texts
from rag_embedder.types import Chunk, Exchange, Hit, Turn

EXCHANGE = "exchange"
CHUNK = "chunk"

_SPEAKERS = {"user": "Speaker 1", "assistant": "Speaker 2"}
_RECENT = 32
"""How many of the newest memories compete on recency, besides those that are found by meaning."""


class MemoryRetriever(StoreOwner):
    """Dialogue turns (scenario "chat") and chunks of long texts (scenario "lrlm") of many users in one store.

    Every call names a user, and nothing of another user is ever scored for it: the store selects that user's rows
    before anything is ranked. Isolation is not a permission system; decide who may ask for whom before you call.

    Args:
        embedder: the encoder.
        path: folder of a durable store, opened or created; None keeps all in memory.
        index: "faiss" (default), "flat", "chroma", or the settings object of one of them.
        mode: "dense", "lexical" (BM25 over the user's own memories) or "hybrid".
        chunk_tokens: size of the chunks that `add_text` makes; 128 in LLM-Embedder.
        reranker: a `Reranker`, or what has its `score_pairs`: orders the best of what `mode` finds
            of this user and session. Hits have its score then, and the first stage's as `retrieval_score`.
        rerank_depth: how many of the best it reads; at least `k`.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        path: str | Path | None = None,
        index: str | IndexSettings = "faiss",
        mode: Mode = "dense",
        chunk_tokens: int = 128,
        reranker: PairScorer | None = None,
        rerank_depth: int = RERANK_DEPTH,
    ) -> None:
        check_encoder(embedder, "chat", "lrlm")
        check_mode(mode)
        self._second_stage = SecondStage(reranker, rerank_depth)
        if not isinstance(chunk_tokens, int) or chunk_tokens < 8:
            raise ConfigError(f"chunk_tokens: got {chunk_tokens!r}; expected an int of at least 8.")
        self._embedder = embedder
        self._mode: Mode = mode
        self._chunk_tokens = chunk_tokens
        self._write_lock = threading.Lock()
        with ExitStack() as opened:  # closed again if one of them cannot be opened
            store = opened.enter_context(Store.open(path))
            self._exchanges = SemanticSearch(
                embedder, store, kind=EXCHANGE, scenario="chat", render=exchange_text, words=_spoken_words, index=index
            )
            opened.callback(self._exchanges.close)
            self._chunks = SemanticSearch(embedder, store, kind=CHUNK, scenario="lrlm", render=_chunk_text, index=index)
            opened.pop_all()
        super().__init__(store, [self._exchanges, self._chunks])

    def add_turns(self, turns: Iterable[Turn | Mapping[str, Any]], *, user: str, session: str = "default") -> list[str]:
        """Remember a piece of dialogue; returns the ids of the memories it made or completed, oldest first.

        A memory is a user turn with the reply that followed. A reply that comes in a later call completes the
        session's last memory, so turns may be added one by one. Turns that repeat the session so far (all of it, or
        its last two memories or more) are known already: a whole history may be passed again with every new turn.

        Raises:
            UserRequiredError: if no user is named.
            InputError: for a turn that is none, or a session name that cannot be stored.
        """
        check_user(user)
        check_name(session, "session")
        groups = group_exchanges(as_turns(turns))
        with self._write_lock:
            newest = self._store.latest(EXCHANGE, user, limit=len(groups) + 1, metadata_filter={"session": session})
            position = newest[0].payload["position"] + 1 if newest else 0
            stored = [_turns_of(item.payload) for item in reversed(newest)]
            completed, groups = continued(stored, groups)
            entries = []
            if completed:
                entries.append(_exchange_entry(newest[0].id, completed, user, session, position - 1))
            for offset, group in enumerate(groups):
                # The random end keeps two processes that write to one session from replacing each other's memories.
                id_ = f"{session}/{position + offset}-{secrets.token_hex(4)}"
                entries.append(_exchange_entry(id_, group, user, session, position + offset))
            return list(self._exchanges.add(entries).ids)

    def add_text(
        self, text: str, *, user: str, source: str | None = None, show_progress: bool | None = None
    ) -> list[str]:
        """Remember a long text in chunks; returns their ids. The same source again replaces what it held.

        Raises:
            UserRequiredError: if no user is named.
            InvalidTextError: if the text is empty or no text.
        """
        check_user(user)
        text = check_document_text(text, field="text")
        source = content_id(text) if source is None else source
        check_name(source, "source")
        spans = chunk_spans(text, self._embedder.token_offsets(text), chunk_tokens=self._chunk_tokens)
        spans = spans or [(0, len(text))]
        payloads = [{"text": text[start:end], "start": start, "end": end} for start, end in spans]
        metadata = {"source": source}
        parts = tuple(NewPart(payload, metadata) for payload in payloads)
        self._chunks.add([NewEntry(source, parts, digest(payloads, metadata), user)], show_progress=show_progress)
        return [f"{source}#{part}" for part in range(len(parts))]

    def retrieve(
        self,
        query: str,
        k: int = 5,
        *,
        user: str,
        session: str | None = None,
        recency: float = 0.0,
        mode: Mode | None = None,
    ) -> list[Hit[Exchange | Chunk]]:
        """The user's `k` most helpful memories, best first.

        Args:
            query: what is being said or asked now.
            k: how many, from 1 to 10,000; fewer come back if there are fewer.
            user: whose memories; required.
            session: only what was said in that one (long texts belong to no session and are left out).
            recency: share of the score, from 0 to 1, that goes to how recent a memory is: 0.5 ** (newer memories / 8).
            mode: overrides the retriever's.

        Raises:
            UserRequiredError: if no user is named.
        """
        return self.retrieve_batch([query], k, user=user, session=session, recency=recency, mode=mode)[0]

    def retrieve_batch(
        self,
        queries: Iterable[str],
        k: int = 5,
        *,
        user: str,
        session: str | None = None,
        recency: float = 0.0,
        mode: Mode | None = None,
    ) -> list[list[Hit[Exchange | Chunk]]]:
        """Hits for each query, in order, all for one user."""
        check_user(user)
        chosen = self._mode if mode is None else mode
        rankings = retrieve_non_empty(queries, lambda asked: self._rank(asked, k, user, session, recency, chosen))
        return [self._hits(ranking) for ranking in rankings]

    async def aretrieve(
        self,
        query: str,
        k: int = 5,
        *,
        user: str,
        session: str | None = None,
        recency: float = 0.0,
        mode: Mode | None = None,
    ) -> list[Hit[Exchange | Chunk]]:
        """`retrieve` off the event loop; concurrent queries are encoded together."""
        return await in_thread(lambda: self.retrieve(query, k, user=user, session=session, recency=recency, mode=mode))

    def context(
        self,
        query: str,
        *,
        user: str,
        max_tokens: int = 512,
        k: int = 8,
        session: str | None = None,
        recency: float = 0.0,
        score_threshold: float | None = None,
        visible: Iterable[Turn | Mapping[str, Any]] = (),
    ) -> str:
        """Memories as text for a prompt: the best that fit into `max_tokens`, printed in time order.

        Tokens are counted with the encoder's tokenizer; another model may count a little differently. A chunk brings
        its continuation where there is room, and neighbouring chunks are joined, not repeated.

        Args:
            query: what is being said or asked now.
            user: whose memories; required.
            max_tokens: budget of the text.
            k: how many memories at most.
            session: only what was said in that one.
            recency: as in `retrieve`.
            score_threshold: leaves out memories that score less, on the scale of `retrieve`.
            visible: turns that the prompt shows anyway; exchanges made of them leave their place to others.
        """
        check_user(user)
        check_max_tokens(max_tokens)
        check_k(k)
        check_score_threshold(score_threshold)
        shown = {(turn.role, turn.content) for turn in as_turns(visible, field="visible")}
        floor = -inf if score_threshold is None else score_threshold
        (ranking,) = retrieve_non_empty(
            [query], lambda asked: self._rank_unseen(asked, k, user, session, recency, shown=shown, floor=floor)
        )
        return write_context(
            [hit.item for hit in self._hits(ranking)],
            written=[found.item.n for found in ranking],
            max_tokens=max_tokens,
            count_tokens=lambda text: self._embedder.count_tokens([text])[0],
        )

    def delete(self, ids: Iterable[str], *, user: str) -> int:
        """Forget memories by id (of an exchange) or source (of a text, a chunk's `document_id`).

        Returns how many were there.
        """
        check_user(user)
        names = check_texts(ids, field="ids")
        return self._store.delete(EXCHANGE, user, names) + self._store.delete(CHUNK, user, names)

    def forget(self, user: str) -> int:
        """Forget everything of one user; returns how many exchanges and texts that were."""
        check_user(user)
        return self._store.delete_scope(EXCHANGE, user) + self._store.delete_scope(CHUNK, user)

    def count(self, user: str) -> int:
        """How many exchanges and texts one user has."""
        check_user(user)
        return self._store.count(EXCHANGE, scope=user) + self._store.count(CHUNK, scope=user)

    def exchanges(self, *, user: str, session: str, limit: int = 100) -> list[Exchange]:
        """The newest exchanges of one session, oldest first; nothing is encoded.

        Raises:
            UserRequiredError: if no user is named.
            InputError: for a session that is no name, or a limit that is no int from 1 to 10,000.
        """
        check_user(user)
        check_name(session, "session")
        check_k(limit)
        newest = self._store.latest(EXCHANGE, user, limit=limit, metadata_filter={"session": session})
        return [self._exchange(item) for item in reversed(newest)]

    def __len__(self) -> int:
        return self._store.count(EXCHANGE) + self._store.count(CHUNK)

    def _rank(
        self, queries: list[str], k: int, user: str, session: str | None, recency: float, mode: Mode
    ) -> list[list[Found]]:
        check_k(k)
        check_mode(mode)
        if session is not None:
            check_name(session, "session")  # a dict here would be read as a filter
        check_recency(recency)
        if recency == 0.0:
            found = self._search(queries, self._second_stage.depth(k), user, session, mode)
            return [ranking[:k] for ranking in self._second_stage.order(queries, found, self._text)]
        if self._second_stage:
            raise ConfigError("recency is mixed with cosines; expected a retriever without a reranker, or recency=0.")
        if mode != "dense":
            raise ConfigError("recency is mixed with cosines; expected mode='dense'.")
        newest = self._newest(user, session)
        rankings = self._search(queries, min(k + _RECENT, MAX_K), user, session, mode)
        return [
            self._with_recency(query, ranking, newest, recency)[:k]
            for query, ranking in zip(queries, rankings, strict=True)
        ]

    def _rank_unseen(
        self,
        queries: list[str],
        k: int,
        user: str,
        session: str | None,
        recency: float,
        *,
        shown: Collection[tuple[str, str]],
        floor: float,
    ) -> list[list[Found]]:
        # As deep as it takes to fill the places of what is shown; once is enough unless one exchange is stored often.
        depth = min(k + len(shown), MAX_K)
        while True:
            rankings = self._rank(queries, depth, user, session, recency, self._mode)
            unseen = [
                [found for found in ranking if found.score >= floor and not _is_shown(found.item, shown)][:k]
                for ranking in rankings
            ]
            is_enough = all(
                len(kept) == k or len(ranking) < depth or ranking[-1].score < floor
                for kept, ranking in zip(unseen, rankings, strict=True)
            )
            if is_enough or depth == MAX_K:
                return unseen
            depth = min(4 * depth, MAX_K)

    def _search(self, queries: list[str], k: int, user: str, session: str | None, mode: Mode) -> list[list[Found]]:
        where = None if session is None else {"session": session}
        rankings = self._exchanges.search(queries, k, scope=user, filter=where, mode=mode)
        if session is not None or not self._store.count(CHUNK, scope=user):
            return rankings
        texts = self._chunks.search(queries, k, scope=user, mode=mode)
        return [
            sorted([*turns, *chunks], key=lambda found: (-found.score, found.item.n))[:k]
            for turns, chunks in zip(rankings, texts, strict=True)
        ]

    def _text(self, item: StoredItem) -> str:
        return (self._exchanges if item.kind == EXCHANGE else self._chunks).text(item)

    def _newest(self, user: str, session: str | None) -> list[StoredItem]:
        where = None if session is None else {"session": session}
        items = self._store.latest(EXCHANGE, user, limit=_RECENT, metadata_filter=where)
        if session is None:
            items = [*items, *self._store.latest(CHUNK, user, limit=_RECENT)]
        return sorted(items, key=lambda item: -item.n)[:_RECENT]

    def _with_recency(
        self, query: str, ranking: list[Found], newest: Sequence[StoredItem], recency: float
    ) -> list[Found]:
        age = {item.n: position for position, item in enumerate(newest)}
        known = {found.item.n for found in ranking}
        scored = {found.item.n: found for found in ranking}
        for search, kind in ((self._exchanges, EXCHANGE), (self._chunks, CHUNK)):
            others = [item for item in newest if item.kind == kind and item.n not in known]
            for item, score in zip(others, search.scores(query, others), strict=True):
                scored[item.n] = Found(item, score)
        mixed = [
            Found(found.item, (1 - recency) * found.score + recency * 0.5 ** (age.get(number, 10_000) / 8))
            for number, found in scored.items()
        ]
        return sorted(mixed, key=lambda found: (-found.score, -found.item.n))

    def _hits(self, ranking: Sequence[Found]) -> list[Hit[Exchange | Chunk]]:
        hits: list[Hit[Exchange | Chunk]] = []
        for rank, found in enumerate(ranking, start=1):
            item = self._exchange(found.item) if found.item.kind == EXCHANGE else self._chunk(found.item)
            hits.append(Hit(item=item, id=item.id, score=found.score, rank=rank, retrieval_score=found.retrieval_score))
        return hits

    def _exchange(self, item: StoredItem) -> Exchange:
        payload = item.payload
        return Exchange(item.id, tuple(_turns_of(payload)), item.scope, payload["session"], payload["position"])

    def _chunk(self, item: StoredItem) -> Chunk:
        following = self._store.part(CHUNK, item.scope, item.id, item.part + 1)
        return Chunk(
            id=f"{item.id}#{item.part}",
            text=item.payload["text"],
            document_id=item.id,
            start=item.payload["start"],
            end=item.payload["end"],
            continuation=following.payload["text"] if following else "",
            metadata=item.metadata,
        )


def exchange_text(payload: Mapping[str, Any]) -> str:
    """What is encoded for an exchange: `Speaker 1: ...` and `Speaker 2: ...` lines, as LLM-Embedder was trained."""
    return "\n".join(f"{_SPEAKERS[role]}: {content}" for role, content in payload["turns"])


def _spoken_words(payload: Mapping[str, Any]) -> str:
    # Without the speakers: "speaker" is in every exchange, and finding all of them by it finds nothing.
    return "\n".join(content for _, content in payload["turns"])


def _chunk_text(payload: Mapping[str, Any]) -> str:
    return payload["text"]


def _turns_of(payload: Mapping[str, Any]) -> list[Turn]:
    return [Turn(role, content) for role, content in payload["turns"]]


def _is_shown(item: StoredItem, shown: Collection[tuple[str, str]]) -> bool:
    return item.kind == EXCHANGE and all((role, content) in shown for role, content in item.payload["turns"])


def _exchange_entry(id_: str, turns: Sequence[Turn], user: str, session: str, position: int) -> NewEntry:
    payload = {"turns": [[turn.role, turn.content] for turn in turns], "session": session, "position": position}
    metadata = {"session": session}
    return NewEntry(id_, (NewPart(payload, metadata),), digest([payload], metadata), user)
