"""Chroma as an index: it gets row numbers and vectors, never texts, and can always be built again from the truth."""

import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from rag_embedder.errors import BackendError, ConfigError, MissingExtraError, StoreError, StoreForkedError
from rag_embedder.index import ranking
from rag_embedder.index.chroma_folder import ChromaFolder
from rag_embedder.index.flat import FlatIndex
from rag_embedder.index.place import IndexPlace
from rag_embedder.index.read_write_lock import ReadWriteLock
from rag_embedder.index.requests import check_added, check_request
from rag_embedder.protocols import Neighbours
from rag_embedder.types import Numbers, Vectors

_LOG = logging.getLogger(__name__)
_PAGE = 2000
_EXTRA = 32


def _no_headers() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class ChromaSettings:
    """Options of the Chroma back-end: embedded in the store's cache folder, or a server if `host` is given.

    Up to `exact_up_to` rows, and for filters that leave no more, answers are computed from all vectors and equal
    those of `flat`. Above, Chroma's HNSW graph proposes candidates and may miss some; more of `ef_search` miss less.

    Raises:
        ConfigError: if a number is out of range.
    """

    host: str | None = None
    port: int = 8000
    ssl: bool = False
    headers: Mapping[str, str] = field(default_factory=_no_headers, repr=False)
    exact_up_to: int = 1000
    ef_search: int = 128

    def __post_init__(self) -> None:
        for name, least in (("port", 1), ("exact_up_to", 0), ("ef_search", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"ChromaSettings.{name}: got {value!r}; expected an integer of at least {least}.")

    def open(self, place: IndexPlace) -> "ChromaIndex":
        """The index as Chroma has it.

        Raises:
            MissingExtraError: if chromadb is not installed.
            StoreLockedError: if an embedded folder is open elsewhere.
            BackendError: if Chroma fails.
        """
        return ChromaIndex(self, place)


def _chromadb() -> Any:  # noqa: ANN401  (an optional package)
    try:
        return import_module("chromadb")
    except ImportError as fault:
        raise MissingExtraError('the "chroma" index needs chromadb; pip install "rag-embedder[chroma]"') from fault


@contextmanager
def _failures_named(doing: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Exception as fault:  # Chroma raises its own, ValueError, RuntimeError, HTTP errors
        raise BackendError(
            f"Chroma failed while {doing} ({type(fault).__name__}). The store itself is unharmed; open it again to "
            'rebuild the index, or use index="faiss".'
        ) from fault


class ChromaIndex:
    """One Chroma collection. `_small` mirrors it in memory while it is small enough for exact answers."""

    def __init__(self, settings: ChromaSettings, place: IndexPlace) -> None:
        self._settings = settings
        self._place = place
        self._pid = os.getpid()
        self._lock = ReadWriteLock()
        self._dirty = False
        self._closed = False
        chromadb = _chromadb()
        embedded = settings.host is None and place.folder is not None
        self._folder = ChromaFolder(place) if embedded else None
        self._client: Any = None
        try:
            try:
                self._start(chromadb)
            except BackendError:
                if self._folder is None:
                    raise
                # Files that match their checksums and still fail: another Chroma version, most likely.
                self._stop()
                self._folder.discard()
                self._start(chromadb)
        except BaseException:
            self._stop()
            if self._folder is not None:
                self._folder.release()
            raise

    def _start(self, chromadb: Any) -> None:  # noqa: ANN401
        with _failures_named("opening the index"):
            self._client = self._connect(chromadb)
            self._collection = self._open_collection()
            self._held = self._read_numbers()
            if self._settings.host is not None and len(self._held):
                self._doubt_server()
            self._small = self._read_small()

    def _stop(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        client.close()
        # Chroma 1.5 leaves the connections of its HTTP client open, and those of the admin client inside it.
        for each in (client, getattr(client, "_admin_client", None)):
            session = getattr(getattr(each, "_server", None), "_session", None)
            if session is not None:
                session.close()

    def _connect(self, chromadb: Any) -> Any:  # noqa: ANN401
        quiet = import_module("chromadb.config").Settings(anonymized_telemetry=False)
        chosen = self._settings
        if chosen.host is not None:
            return chromadb.HttpClient(
                host=chosen.host, port=chosen.port, ssl=chosen.ssl, headers=dict(chosen.headers), settings=quiet
            )
        if self._folder is None:
            return chromadb.EphemeralClient(settings=quiet)
        return chromadb.PersistentClient(path=str(self._folder.data), settings=quiet)

    def _open_collection(self) -> Any:  # noqa: ANN401
        place = self._place
        name = f"rag-embedder-{place.store_id}-{place.space}"
        if self._settings.host is None and self._folder is None:
            name = f"{name}-{uuid.uuid4()}"  # all in-memory clients of a process share one database
        made_for = {"fingerprint": place.fingerprint, "dim": place.dim}
        collection = self._get_or_create(name, made_for)
        if {key: (collection.metadata or {}).get(key) for key in made_for} != made_for:
            _LOG.warning("Chroma collection %s was made for another model; built again", name)
            self._client.delete_collection(name)
            collection = self._get_or_create(name, made_for)
        return collection

    def _doubt_server(self) -> None:
        """Empty a server's collection that another state of the truth has filled, such as one before a restore."""
        if (self._collection.metadata or {}).get("generation", 0) == self._place.generation():
            return
        _LOG.warning("Chroma collection %s belongs to another state of the store; built again", self._collection.name)
        self._collection.delete(ids=[str(n) for n in self._held.tolist()])
        self._held = np.empty(0, np.int64)

    def _mark_server(self) -> None:
        # At the first change and again at the end: a truth restored from a backup that was taken before either has
        # another generation. (A backup from in between is only told apart if this index was closed afterwards.)
        made_for = {"fingerprint": self._place.fingerprint, "dim": self._place.dim}
        self._collection.modify(metadata={**made_for, "generation": self._place.bump()})

    def _get_or_create(self, name: str, made_for: Mapping[str, object]) -> Any:  # noqa: ANN401
        # No embedding function: a stored one could load code named by the collection (chroma issue 7237).
        return self._client.get_or_create_collection(
            name,
            embedding_function=None,
            metadata=dict(made_for),
            configuration={"hnsw": {"space": "ip", "ef_search": self._settings.ef_search}},
        )

    def _read_numbers(self) -> Numbers:
        pages = [np.empty(0, np.int64)]
        while ids := self._collection.get(include=[], limit=_PAGE, offset=sum(map(len, pages)))["ids"]:
            pages.append(np.array([int(each) for each in ids], np.int64))
        return np.unique(np.concatenate(pages))

    def _read_small(self) -> FlatIndex | None:
        if len(self._held) > self._settings.exact_up_to:
            return None
        small = FlatIndex(self._place.dim)
        for numbers, vectors in self._pages(self._held):
            small.add(numbers, vectors)
        return small

    # --- what it holds

    def numbers(self) -> Numbers:
        """The row numbers held, ascending."""
        with self._lock.reading():
            return self._held

    def add(self, numbers: Numbers, vectors: Vectors) -> None:
        """Take in rows, in portions of what Chroma accepts at once."""
        numbers, vectors = check_added(numbers, vectors, self._place.dim)
        with self._changing("adding rows"):
            step = self._client.get_max_batch_size()
            for start in range(0, len(numbers), step):
                ids = [str(n) for n in numbers[start : start + step].tolist()]
                self._collection.upsert(ids=ids, embeddings=vectors[start : start + step])
            self._held = np.union1d(self._held, numbers)
            if self._small is not None and len(self._held) <= self._settings.exact_up_to:
                self._small.add(numbers, vectors.copy())
            else:
                self._small = None

    def remove(self, numbers: Numbers) -> None:
        """Forget rows."""
        here = np.intersect1d(np.asarray(numbers, np.int64), self._held)
        if len(here) == 0:
            return
        with self._changing("removing rows"):
            step = self._client.get_max_batch_size()
            for start in range(0, len(here), step):
                self._collection.delete(ids=[str(n) for n in here[start : start + step].tolist()])
            self._held = np.setdiff1d(self._held, here, assume_unique=True)
            if self._small is not None:
                self._small.remove(here)

    @contextmanager
    def _changing(self, doing: str) -> Iterator[None]:
        self._check_usable()
        with self._lock.writing(), _failures_named(doing):
            if not self._dirty:
                if self._folder is not None:
                    self._folder.mark_dirty()
                elif self._settings.host is not None:
                    self._mark_server()
                self._dirty = True
            yield

    # --- searching

    def search(self, queries: Vectors, k: int, *, allowed: Numbers | None = None) -> list[Neighbours]:
        """The `k` best rows for each query."""
        queries = check_request(queries, k, self._place.dim)
        self._check_usable()
        with self._lock.reading(), _failures_named("searching"):
            if self._small is not None:
                return self._small.search(queries, k, allowed=allowed)
            among = self._held
            if allowed is not None:
                among = np.intersect1d(np.asarray(allowed, np.int64), among)
            if len(among) == 0:
                return [ranking.nothing() for _ in queries]
            if len(among) <= self._settings.exact_up_to or k * 4 >= len(among):
                return self._scan(queries, k, among)
            return self._search_graph(queries, k, among, filtered=allowed is not None)

    def _search_graph(self, queries: Vectors, k: int, among: Numbers, *, filtered: bool) -> list[Neighbours]:
        """Candidates from Chroma, ranked by `ranking`; a query that gets too few, or ends in a tie, is scanned."""
        wanted = min(2 * k + _EXTRA, len(among))
        answer = self._collection.query(
            query_embeddings=queries,
            n_results=wanted,
            ids=[str(n) for n in among.tolist()] if filtered else None,
            include=["embeddings"],
        )
        found = []
        for query, ids, vectors in zip(queries, answer["ids"], answer["embeddings"], strict=True):
            numbers = np.array([int(each) for each in ids], np.int64)
            known = np.isin(numbers, among)  # a server's collection may be ahead of us
            best = ranking.rank(query, numbers[known], np.asarray(vectors, np.float32)[known], wanted)
            in_tie = len(best.scores) > k and best.scores[k - 1] == best.scores[-1]
            if len(best.numbers) < min(wanted, k + 1) or in_tie:
                found += self._scan(query[None], k, among)
            else:
                found.append(Neighbours(best.numbers[:k], best.scores[:k]))
        return found

    def _scan(self, queries: Vectors, k: int, among: Numbers) -> list[Neighbours]:
        """The exact answer from the vectors of all rows in `among`, a page at a time."""
        best = [ranking.nothing() for _ in queries]
        for numbers, vectors in self._pages(among):
            for place, query in enumerate(queries):
                best[place] = ranking.merge(best[place], ranking.rank(query, numbers, vectors, k), k)
        return best

    def _pages(self, among: Numbers) -> Iterator[tuple[Numbers, Vectors]]:
        for start in range(0, len(among), _PAGE):
            ids = [str(n) for n in among[start : start + _PAGE].tolist()]
            page = self._collection.get(ids=ids, include=["embeddings"])
            numbers = np.array([int(each) for each in page["ids"]], np.int64)
            order = np.argsort(numbers)
            yield numbers[order], np.asarray(page["embeddings"], np.float32)[order]

    # --- the end

    def save(self) -> None:
        """Nothing to do: Chroma writes as it goes, and `close` marks its files as whole."""

    def close(self) -> None:
        """Give back files and threads; a second call does nothing. Close the index before its store."""
        if self._closed or self._pid != os.getpid():
            return
        with self._lock.writing():
            self._closed = True
            if self._settings.host is None and self._folder is None:
                with _failures_named("closing"):
                    self._client.delete_collection(self._collection.name)
            try:
                if self._settings.host is not None and self._dirty:
                    with _failures_named("closing"):
                        self._mark_server()
            finally:
                self._stop()
            if self._folder is not None:
                self._leave(self._folder)

    def _leave(self, folder: ChromaFolder) -> None:
        try:
            folder.mark_clean()
        except (StoreError, OSError) as fault:
            _LOG.warning("the Chroma files could not be marked as whole and will be built again: %s", fault)
        finally:
            folder.release()

    def _check_usable(self) -> None:
        if self._pid != os.getpid():
            raise StoreForkedError("a Chroma index was opened before fork(); open the store again in the child.")
        if self._closed:
            raise BackendError("the Chroma index is closed; open the store again.")
