"""Any LangChain vector store as the index of our retrievers: it gets row names and vectors, never texts."""

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from integrations.langchain.handed_vectors import HandedVectors
from rag_embedder.errors import BackendError, ConfigError, RagEmbedderError
from rag_embedder.index.flat import FlatIndex
from rag_embedder.index.place import IndexPlace
from rag_embedder.index.read_write_lock import ReadWriteLock
from rag_embedder.index.requests import check_added, check_request
from rag_embedder.protocols import Neighbours
from rag_embedder.types import Numbers, Vectors

_LOG = logging.getLogger(__name__)
_EXTRA = 32  # candidates beyond k, so that ties and rounding rarely need the exact answer
_NAMESPACE = uuid.UUID("7c0d1b0e-53a5-4f3c-9a55-8f4a4c1f7d11")


@dataclass(frozen=True, slots=True)
class VectorStoreIndexSettings:
    """`index=` of our retrievers: `VectorStoreIndexSettings(lambda embeddings: Chroma("notes", embeddings))`.

    Our store stays the truth: documents, filters, users and deletions are its own. Theirs holds one vector for each
    row, under the row's name, and works through what every LangChain vector store has: `add_texts` (which replaces
    rows of the same id), `delete` and `similarity_search`. It should rank by cosine or inner product.

    All vectors are held in memory too (4 * dim bytes each), as with "faiss". Up to `exact_up_to` rows, and whenever a
    filter or user restricts the rows, answers come from there and are exact: stores have no filters in common. Above,
    the store proposes candidates and may miss some; scores and their order are always computed here.

    What is added or deleted reaches the store with the next search. Opening compares what the store holds
    (`get_by_ids`, where it has that) and writes only what it lacks. Give every retriever a collection of its own. Rows
    of an in-memory retriever are deleted from the store when it is closed.

    Args:
        open_store: makes the store; it must give the store the embeddings it receives, which hand out our vectors.
        exact_up_to: number of rows up to which the store is not asked.
        batch_size: rows written to the store at once.

    Raises:
        ConfigError: for an option that cannot be used.
    """

    open_store: Callable[[Embeddings], VectorStore]
    exact_up_to: int = 1000
    batch_size: int = 500

    def __post_init__(self) -> None:
        if not callable(self.open_store):
            raise ConfigError(
                f"open_store: got {type(self.open_store).__name__}; expected a function that gives a VectorStore, such "
                "as lambda embeddings: Chroma('notes', embeddings)."
            )
        for name, least in (("exact_up_to", 0), ("batch_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name}: got {value!r}; expected an integer of at least {least}.")

    def open(self, place: IndexPlace) -> "VectorStoreIndex":
        """The index, empty: the truth then fills it, and the store gets what it lacks.

        Raises:
            BackendError: if the store cannot be opened.
        """
        return VectorStoreIndex(self, place)


class VectorStoreIndex:
    """One vector store behind an exact copy in memory. Searches share a lock that changes hold alone."""

    def __init__(self, settings: VectorStoreIndexSettings, place: IndexPlace) -> None:
        self._settings = settings
        self._place = place
        self._lock = ReadWriteLock()
        self._exact = FlatIndex(place.dim)
        self._handed = HandedVectors(place.dim)
        self._can_look_up = True
        self._owner = hashlib.sha256(f"{place.store_id}/{place.space}/{place.fingerprint}".encode()).hexdigest()[:16]
        with _failures_named("opening"):
            self._store: VectorStore | None = settings.open_store(self._handed)
        if not isinstance(self._store, VectorStore):
            raise ConfigError(f"open_store: gave {type(self._store).__name__}; expected a VectorStore of LangChain.")

    def numbers(self) -> Numbers:
        """The row numbers held, ascending."""
        return self._exact.numbers()

    def add(self, numbers: Numbers, vectors: Vectors) -> None:
        """Take in rows; those the store has already, with the same vectors, are not written again."""
        numbers, vectors = check_added(numbers, vectors, self._place.dim)
        step = self._settings.batch_size
        with self._lock.writing(), _failures_named("adding rows"):
            for start in range(0, len(numbers), step):
                self._write(numbers[start : start + step].tolist(), vectors[start : start + step])
            self._exact.add(numbers, vectors)

    def _write(self, numbers: list[int], vectors: Vectors) -> None:
        names = {self._id(n): self._name(n, vector) for n, vector in zip(numbers, vectors, strict=True)}
        here = self._look_up(list(names))
        rows = [
            (id_, name, number, vector)
            for (id_, name), number, vector in zip(names.items(), numbers, vectors.tolist(), strict=True)
            if here.get(id_) != name
        ]
        if not rows:
            return
        with self._handed.offering({name: vector for _, name, _, vector in rows}):
            self._opened().add_texts(
                [name for _, name, _, _ in rows],
                # Some stores cannot give back a document without metadata.
                metadatas=[{"row": number} for _, _, number, _ in rows],
                ids=[id_ for id_, _, _, _ in rows],
            )

    def _look_up(self, ids: list[str]) -> dict[str, str]:
        """Names of those of these rows that the store holds, by id; none if it cannot say."""
        if not self._can_look_up:
            return {}
        try:
            found = self._opened().get_by_ids(ids)
        except NotImplementedError:
            self._can_look_up = False
            return {}
        return {document.id: document.page_content for document in found if document.id is not None}

    def remove(self, numbers: Numbers) -> None:
        """Forget rows. A store that cannot delete keeps their vectors; they are never found any more."""
        with self._lock.writing(), _failures_named("removing rows"):
            here = np.intersect1d(np.asarray(numbers, np.int64), self._exact.numbers())
            self._delete(here)
            self._exact.remove(here)

    def _delete(self, numbers: Numbers) -> None:
        step = self._settings.batch_size
        ids = [self._id(n) for n in numbers.tolist()]
        try:
            for start in range(0, len(ids), step):
                self._opened().delete(ids=ids[start : start + step])
        except NotImplementedError:
            _LOG.warning("%s cannot delete: it keeps %d vectors of removed rows", type(self._store).__name__, len(ids))

    def search(self, queries: Vectors, k: int, *, allowed: Numbers | None = None) -> list[Neighbours]:
        """The `k` best rows for each query."""
        queries = check_request(queries, k, self._place.dim)
        with self._lock.reading(), _failures_named("searching"):
            held = len(self._exact.numbers())
            if allowed is not None or held <= self._settings.exact_up_to or k * 4 >= held:
                return self._exact.search(queries, k, allowed=allowed)
            return [self._search_store(query, k, min(2 * k + _EXTRA, held)) for query in queries]

    def _search_store(self, query: Vectors, k: int, wanted: int) -> Neighbours:
        """Candidates from the store, ranked exactly; a query that gets too few, or ends in a tie, is scanned."""
        name = self._handed.query_name()
        with self._handed.offering({name: query.tolist()}):
            found = self._opened().similarity_search(name, k=wanted)
        candidates = [n for each in found if (n := self._number(each.page_content)) is not None]
        (best,) = self._exact.search(query[None], wanted, allowed=np.unique(np.array(candidates, np.int64)))
        in_tie = len(best.scores) > k and best.scores[k - 1] == best.scores[-1]
        if len(best.numbers) < min(wanted, k + 1) or in_tie:
            return self._exact.search(query[None], k)[0]
        return Neighbours(best.numbers[:k], best.scores[:k])

    def save(self) -> None:
        """Nothing to do: the store keeps what it was given."""

    def close(self) -> None:
        """Give back the memory and let go of the store, which has no `close` of its own; twice does nothing more."""
        with self._lock.writing():
            if self._store is None:
                return
            try:
                if self._place.folder is None:
                    with _failures_named("closing"):
                        self._delete(self._exact.numbers())
            finally:
                self._store = None
                self._exact.close()

    def _opened(self) -> VectorStore:
        if self._store is None:
            raise BackendError("the vector store index is closed; open the store again.")
        return self._store

    # --- what a row is called

    def _id(self, number: int) -> str:
        """An id that every store accepts; some take nothing but UUIDs."""
        return str(uuid.uuid5(_NAMESPACE, f"{self._owner}:{number}"))

    def _name(self, number: int, vector: Vectors) -> str:
        """The text under which a row is stored: it proves owner, number and vector."""
        return f"rag-embedder:{self._owner}:{number}:{hashlib.sha256(vector.tobytes()).hexdigest()[:16]}"

    def _number(self, name: str) -> int | None:
        """The row number in a name of ours; None for rows of others, in a collection that is shared."""
        start, owner, number, _ = [*name.split(":"), "", "", "", ""][:4]
        return int(number) if (start, owner) == ("rag-embedder", self._owner) and number.isdigit() else None


@contextmanager
def _failures_named(doing: str) -> Iterator[None]:
    try:
        yield
    except RagEmbedderError:
        raise
    except Exception as fault:  # whatever this store and its client raise
        raise BackendError(
            f"the vector store failed while {doing} ({type(fault).__name__}). The documents themselves are unharmed; "
            "they are written to it again when it is next opened."
        ) from fault
