"""The one path every retriever uses: encode, store, index, and back from vectors to stored items."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rag_embedder.errors import ConfigError, DuplicateIdError, InputError, StoreClosedError
from rag_embedder.filters import compile_filter
from rag_embedder.fusion import reciprocal_rank_fusion
from rag_embedder.index import IndexSettings, resolve_index
from rag_embedder.index.catch_up import open_index, refresh
from rag_embedder.lexical_cache import LexicalCache
from rag_embedder.protocols import Neighbours, TextEncoder
from rag_embedder.registry import unknown_name
from rag_embedder.store import NewEntry, Store, StoredItem
from rag_embedder.store.writes import encode_entries
from rag_embedder.types import Numbers, Vectors

Mode = Literal["dense", "hybrid", "lexical"]
MODES = ("dense", "hybrid", "lexical")
MAX_K = 10_000

_FUSION_DEPTH = 100
"""How deep each ranking is read before fusion."""

_ENCODED_AT_ONCE = 1024
"""How many items that lack a vector are encoded before they are committed."""

MetadataFilter = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A stored item with its score for one query, and what the first stage gave it where a reranker ordered."""

    item: StoredItem
    score: float
    retrieval_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddReport:
    """What one `add` did, by id: entries that were new, changed, or there already with the same content."""

    ids: tuple[str, ...]
    added: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]


class SemanticSearch:
    """All items of one kind in a store, with their vectors for one scenario.

    The store is the truth; the index follows it. Every search first takes in what any thread or process has
    committed since, so what `add` acknowledged anywhere is found here.

    Args:
        encoder: gives the vectors; its fingerprint for the scenario must be the one the store knows.
        store: where items and vectors are kept.
        kind: the family of items, such as "passage".
        scenario: decides the instructions of queries and documents.
        render: the text of an item's payload that is encoded and searched.
        words: the text that BM25 searches, where it is not the encoded one.
        index: a back-end's name or settings.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        store: Store,
        *,
        kind: str,
        scenario: str,
        render: Callable[[Mapping[str, Any]], str],
        words: Callable[[Mapping[str, Any]], str] | None = None,
        index: str | IndexSettings = "faiss",
    ) -> None:
        settings = resolve_index(index)
        self._encoder = encoder
        self._store = store
        self._kind = kind
        self._scenario = scenario
        self._render = render
        self._space = store.open_space(
            kind=kind,
            scenario=scenario,
            fingerprint=encoder.fingerprint_of(scenario),
            model=encoder.name,
            dim=encoder.dim,
        )
        self._index, self._position = open_index(settings, store, self._space)
        self._lock = threading.Lock()
        self._lexical = LexicalCache(store, kind, words or render)
        self._is_closed = False
        self._clock = -1
        self._complete_to = 0

    def add(self, entries: Sequence[NewEntry], *, show_progress: bool | None = None) -> AddReport:
        """Store and index entries, replacing those whose id is there; all of the call or nothing of it.

        Returns after the commit. Entries whose digest has not changed are left alone and not encoded again.

        Raises:
            DuplicateIdError: if an id occurs twice in the call.
            InputError: if an id, payload or metadata cannot be stored; said before anything is encoded.
        """
        self._store.clock()  # a store that is closed, or of another process, must not cost a pass through the model
        _refuse_duplicates(entries)
        encode_entries(self._kind, entries)
        known: dict[tuple[str, str], str] = {}
        for scope in {entry.scope for entry in entries}:
            ids = [entry.id for entry in entries if entry.scope == scope]
            known |= {(scope, id_): digest for id_, digest in self._store.digests(self._kind, scope, ids).items()}
        changed = [entry for entry in entries if known.get((entry.scope, entry.id)) != entry.digest]
        texts = [self._render(part.payload) for entry in changed for part in entry.parts]
        if changed:
            vectors = self._encoder.encode_documents(texts, self._scenario, show_progress=show_progress)
            self._store.put(self._kind, changed, space=self._space, vectors=vectors)
        changed_ids = {(entry.scope, entry.id) for entry in changed}
        return AddReport(
            ids=tuple(entry.id for entry in entries),
            added=tuple(e.id for e in changed if (e.scope, e.id) not in known),
            updated=tuple(e.id for e in changed if (e.scope, e.id) in known),
            unchanged=tuple(e.id for e in entries if (e.scope, e.id) not in changed_ids),
        )

    def search(
        self,
        queries: Sequence[str],
        k: int,
        *,
        scope: str | None = None,
        filter: MetadataFilter | None = None,
        mode: Mode = "dense",
    ) -> list[list[Found]]:
        """The `k` best items for each query, best first; scope and filter restrict the items before ranking.

        Dense scores are cosines in [-1, 1], lexical ones BM25, hybrid ones sums of reciprocal ranks.

        Raises:
            InputError: if k is not an int from 1 to 10,000.
            FilterError: for a filter that cannot be understood.
            StoreClosedError: if it was closed, also in the middle of the search.
        """
        check_k(k)
        check_mode(mode)
        if filter is not None:
            compile_filter(filter)  # as below: refused before the model runs
        self._store.clock()
        if not queries:
            return []
        vectors = None if mode == "lexical" else self._encoder.encode_queries(queries, self._scenario)
        self.refresh()
        allowed = None
        if scope is not None or filter is not None:
            allowed = self._store.select(self._kind, scope=scope, filter=filter)
            if not len(allowed):
                return [[] for _ in queries]
        ranked = self._rank(queries, vectors, k, allowed, scope, mode)
        self._check_open()  # an index that was closed meanwhile may have found nothing
        return self._found(ranked)

    def scores(self, query: str, items: Sequence[StoredItem]) -> list[float]:
        """Cosine of one query with the given items of this search, in their order; 0 for one just deleted."""
        if not items:
            return []
        (vector,) = self._encoder.encode_queries([query], self._scenario)
        return (self.vectors(items) @ vector).tolist()

    def vectors(self, items: Sequence[StoredItem]) -> Vectors:
        """The document vectors of items of this search, in their order, shape (n, dim); zeros for one just deleted."""
        numbers, found = self._store.vectors(self._space, np.array(sorted(item.n for item in items), dtype=np.int64))
        rows = {int(number): row for row, number in enumerate(numbers)}
        vectors = np.zeros((len(items), self._encoder.dim), dtype=np.float32)
        for position, item in enumerate(items):
            if item.n in rows:
                vectors[position] = found[rows[item.n]]
        return vectors

    def text(self, item: StoredItem) -> str:
        """What is encoded of an item, without instruction."""
        return self._render(item.payload)

    def refresh(self) -> None:
        """Take in what has been committed since the last look; encode items that have no vector here yet."""
        clock = self._store.clock()
        if clock == self._clock:
            return
        with self._lock:
            self._check_open()
            self._encode_missing()
            self._position = refresh(self._index, self._store, self._space, self._position)
            self._clock = clock

    def close(self) -> None:
        """Write the index's cache and give back what it holds; the store is closed by its owner."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            try:
                self._index.save()
            finally:
                self._index.close()

    def _check_open(self) -> None:
        if self._is_closed:
            where = self._store.path or "(memory)"
            raise StoreClosedError(f"the store at {where} is closed; open it again.", path=str(where))

    def _rank(
        self,
        queries: Sequence[str],
        vectors: Vectors | None,
        k: int,
        allowed: Numbers | None,
        scope: str | None,
        mode: Mode,
    ) -> list[Neighbours]:
        depth = k if mode != "hybrid" else max(k, _FUSION_DEPTH)
        dense = [] if vectors is None else self._index.search(vectors, depth, allowed=allowed)
        if mode == "dense":
            return dense
        lexical = self._lexical.index(scope).search(queries, depth, allowed=allowed)
        if mode == "lexical":
            return lexical
        return [reciprocal_rank_fusion(pair, k) for pair in zip(dense, lexical, strict=True)]

    def _found(self, rankings: Sequence[Neighbours]) -> list[list[Found]]:
        items = self._store.items([int(n) for ranking in rankings for n in ranking.numbers])
        return [
            [
                Found(items[int(number)], float(score))
                for number, score in zip(ranking.numbers, ranking.scores, strict=True)
                if int(number) in items  # deleted by another process a moment ago
            ]
            for ranking in rankings
        ]

    def _encode_missing(self) -> None:
        # Items that another scenario has added: a knowledge store, say, that is now searched with dialogues.
        # Row numbers are given out in order of commit, so all up to the newest seen here are complete afterwards.
        # Only what is committed counts as complete: if the encoder fails, the next search tries the rest again.
        newest = self._store.latest(self._kind, None, limit=1)
        while missing := self._store.missing(self._kind, self._space, self._complete_to, limit=_ENCODED_AT_ONCE):
            texts = [self._render(item.payload) for item in missing]
            vectors = self._encoder.encode_documents(texts, self._scenario)
            self._store.put_vectors(self._space, [item.n for item in missing], vectors)
            self._complete_to = missing[-1].n
        if newest:
            self._complete_to = max(self._complete_to, newest[0].n)


def check_k(k: object) -> None:
    """Raise InputError unless k is an int from 1 to 10,000."""
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or not 1 <= k <= MAX_K:
        raise InputError(f"k: got {k!r}; expected an int from 1 to {MAX_K}.")


def check_encoder(encoder: TextEncoder, *scenarios: str) -> None:
    """Raise ConfigError for what cannot encode, such as a path in the embedder's place, or an unknown scenario.

    Called before a store is opened, so that a mistake leaves no empty store behind.
    """
    if not callable(getattr(encoder, "encode_queries", None)):
        raise ConfigError(f"embedder: got {type(encoder).__name__}; expected an Embedder, such as Embedder.load().")
    if not getattr(encoder, "is_normalized", True):
        raise ConfigError("embedder: its rows are not unit vectors; expected an Embedder loaded with normalize=True.")
    for scenario in scenarios:
        encoder.fingerprint_of(scenario)


def check_mode(mode: object) -> None:
    """Raise ConfigError unless the mode is dense, hybrid or lexical."""
    if mode not in MODES:
        raise unknown_name("mode", mode, list(MODES))


def _refuse_duplicates(entries: Sequence[NewEntry]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for position, entry in enumerate(entries):
        first = seen.setdefault((entry.scope, entry.id), position)
        if first != position:
            raise duplicate_id(entry.id, first, position)


def duplicate_id(id_: str, first: int, second: int) -> DuplicateIdError:
    """The error for one id at two positions of a call."""
    return DuplicateIdError(
        f"id {id_!r} occurs at {first} and at {second}; expected every id once per call. Nothing was added."
    )
