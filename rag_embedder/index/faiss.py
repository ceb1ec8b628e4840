"""FAISS: an exact index with a cache on disk, which becomes an HNSW graph when it is large."""

import logging
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_embedder.errors import ConfigError, MissingExtraError
from rag_embedder.index import ranking, rows
from rag_embedder.index.cache_file import CacheFile
from rag_embedder.index.exact import search_exactly
from rag_embedder.index.place import IndexPlace
from rag_embedder.index.read_write_lock import ReadWriteLock
from rag_embedder.index.requests import check_added, check_request
from rag_embedder.index.rows import Rows
from rag_embedder.protocols import Neighbours
from rag_embedder.types import Numbers, Vectors

_LOG = logging.getLogger(__name__)
_EXTRA = 32  # candidates beyond k in the first try, so that ties and rounding rarely need a second one


@dataclass(frozen=True, slots=True)
class FaissSettings:
    """Options of the FAISS back-end.

    An index that is opened with `hnsw_above` rows or more becomes an HNSW graph (`m` links for each row, lists of
    `ef_construction` and `ef_search` candidates): approximate, and slow to build once. Below, answers are exact.

    Raises:
        ConfigError: if an option is not a positive integer.
    """

    hnsw_above: int = 200_000
    m: int = 16
    ef_construction: int = 80
    ef_search: int = 128

    def __post_init__(self) -> None:
        for name in ("hnsw_above", "m", "ef_construction", "ef_search"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"FaissSettings.{name}: got {value!r}; expected a positive integer.")

    def open(self, place: IndexPlace) -> "FaissIndex":
        """The index as its cache has it, empty if there is no cache that can be believed.

        Raises:
            MissingExtraError: if faiss is not installed.
        """
        return FaissIndex(self, place)


def _faiss() -> Any:  # noqa: ANN401  (faiss has no usable types)
    try:
        return import_module("faiss")
    except ImportError as fault:
        raise MissingExtraError('the "faiss" index needs faiss; pip install faiss-cpu') from fault


class FaissIndex:
    """FAISS forbids searches during changes, so readers share a lock that writers hold alone.

    Places in FAISS are those of `_rows`; removed rows stay as dead places until a quarter of them is dead.
    """

    def __init__(self, settings: FaissSettings, place: IndexPlace) -> None:
        self._faiss = _faiss()
        self._settings = settings
        self._dim = place.dim
        self._lock = ReadWriteLock()
        folder = None if place.folder is None else place.folder / f"faiss-{place.space}"
        self._cache = None if folder is None else CacheFile(folder, place)
        self._rows = rows.empty()
        self._index = self._exact_index()
        self._longest = 0.0
        self._unsaved = True
        self._load()

    # --- what it holds

    def numbers(self) -> Numbers:
        """The row numbers held, ascending."""
        with self._lock.reading():
            return self._rows.live_numbers()

    def add(self, numbers: Numbers, vectors: Vectors) -> None:
        """Take in rows. The first call decides between exact and graph; later ones keep the kind."""
        numbers, vectors = check_added(numbers, vectors, self._dim)
        if len(numbers) == 0:
            return
        with self._lock.writing():
            if len(self._rows) == 0 and len(numbers) >= self._settings.hnsw_above:
                self._index = self._graph_index(len(numbers))
            self._index.add(vectors)
            self._rows = rows.joined(self._rows, numbers)
            self._longest = max(self._longest, _longest(vectors))
            self._unsaved = True

    def remove(self, numbers: Numbers) -> None:
        """Forget rows. An exact index is packed when a quarter is dead, a graph when it is next opened."""
        with self._lock.writing():
            places = self._rows.places_of(np.asarray(numbers, np.int64))
            if len(places) == 0:
                return
            self._rows = self._rows.without(places)
            self._unsaved = True
            if self._rows.num_dead * 4 > len(self._rows) and not self._is_graph():
                self._rebuild()

    # --- searching

    def search(self, queries: Vectors, k: int, *, allowed: Numbers | None = None) -> list[Neighbours]:
        """The `k` best rows for each query."""
        queries = check_request(queries, k, self._dim)
        with self._lock.reading():
            table = self._rows
            if allowed is not None:
                table = table.only(table.places_of(np.asarray(allowed, np.int64)))
            if table.num_alive == 0:
                return [ranking.nothing() for _ in queries]
            if self._scan_is_better(table, k):
                return self._scan(queries, k, table)
            return self._search_graph(queries, k, table)

    def _scan_is_better(self, table: Rows, k: int) -> bool:
        """Small subsets, and large parts of the index, are scored one by one: a graph would miss some of them.

        Without a graph everything is: numpy's product over FAISS's memory takes a third of the time of
        IndexFlatIP (benchmarks/index_latency.py), and its answer holds every tie.
        """
        if not self._is_graph():
            return True
        return table.num_alive * 10 <= len(table) or k * 4 >= table.num_alive

    def _scan(self, queries: Vectors, k: int, table: Rows) -> list[Neighbours]:
        vectors = self._stored_vectors()
        if table.num_alive * 4 > len(table):
            return search_exactly(queries, k, table, vectors, self._longest)
        places = np.flatnonzero(table.alive)
        return search_exactly(queries, k, rows.of(table.numbers[places]), vectors[places], self._longest)

    def _search_graph(self, queries: Vectors, k: int, table: Rows) -> list[Neighbours]:
        """Candidates from the graph, ranked by `ranking`.

        A query is scanned instead when the graph finds too little, or when its candidates may end within a tie.
        """
        stored = self._stored_vectors()
        wanted = min(k + _EXTRA, table.num_alive)
        found = []
        for query, near, places in zip(queries, *self._candidates(queries, wanted, table), strict=True):
            slack = ranking.margin(query, self._longest)
            cut = wanted < table.num_alive and near[k - 1] - near[-1] <= slack
            if places[-1] < 0 or cut:
                found += self._scan(query[None], k, table)
            else:
                found.append(ranking.rank(query, table.numbers[places], stored[places], k))
        return found

    def _candidates(self, queries: Vectors, wanted: int, table: Rows) -> tuple[Vectors, NDArray[np.int64]]:
        """Scores and places from the graph, best first, shape (q, wanted); place -1 where it found nothing."""
        bits = np.packbits(table.alive, bitorder="little") if table.num_dead else None
        selector = None if bits is None else self._faiss.IDSelectorBitmap(bits)
        parameters = self._faiss.SearchParametersHNSW(sel=selector, efSearch=max(self._settings.ef_search, 2 * wanted))
        return self._index.search(queries, wanted, params=parameters)

    # --- inside

    def _exact_index(self) -> Any:  # noqa: ANN401
        return self._faiss.IndexFlatIP(self._dim)

    def _graph_index(self, count: int) -> Any:  # noqa: ANN401
        _LOG.info("building an HNSW graph over %d rows; its cache makes this a one-time cost", count)
        index = self._faiss.IndexHNSWFlat(self._dim, self._settings.m, self._faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self._settings.ef_construction
        return index

    def _is_graph(self) -> bool:
        return isinstance(self._index, self._faiss.IndexHNSW)

    def _stored_vectors(self) -> Vectors:
        """FAISS's own memory, shape (places, dim): valid only while the lock is held."""
        flat = self._faiss.downcast_index(self._index.storage) if self._is_graph() else self._index
        if flat.ntotal == 0:
            return np.empty((0, self._dim), np.float32)
        return self._faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * self._dim).reshape(flat.ntotal, self._dim)

    def _rebuild(self) -> None:
        """Start again with the live rows, as a graph if they are many enough."""
        live = np.flatnonzero(self._rows.alive)
        vectors = self._stored_vectors()[live]
        graph = len(live) >= self._settings.hnsw_above
        index = self._graph_index(len(live)) if graph else self._exact_index()
        if len(live):
            index.add(vectors)
        self._index, self._rows = index, rows.of(self._rows.numbers[live])

    # --- the cache

    def save(self) -> None:
        """Write the cache, if anything changed since it was read or written."""
        if self._cache is None:
            return
        with self._lock.reading():
            if not self._unsaved:
                return
            arrays = {
                "faiss": self._faiss.serialize_index(self._index),
                "numbers": self._rows.numbers,
                "alive": self._rows.alive,
            }
            self._unsaved = False
        try:
            self._cache.write(arrays)
        except BaseException:
            self._unsaved = True
            raise

    def _load(self) -> None:
        arrays = None if self._cache is None else self._cache.read()
        if arrays is None:
            return
        try:
            index = self._faiss.deserialize_index(arrays["faiss"])
            numbers, alive = arrays["numbers"].astype(np.int64), arrays["alive"].astype(np.bool_)
            if index.d != self._dim or not index.ntotal == len(numbers) == len(alive):
                raise ValueError("the cached index and its row numbers differ in size")
        except (KeyError, ValueError, RuntimeError) as fault:
            _LOG.warning("the cached FAISS index is not usable and is built again: %s", fault)
            return
        ascending = bool((np.diff(numbers) > 0).all())
        self._index, self._rows = index, Rows(numbers, alive, int(alive.sum()), ascending)
        self._longest = _longest(self._stored_vectors())
        self._unsaved = False
        outgrown = not self._is_graph() and self._rows.num_alive >= self._settings.hnsw_above
        if outgrown or self._rows.num_dead * 4 > len(self._rows):
            self._rebuild()
            self._unsaved = True

    def close(self) -> None:
        """Give back the memory."""
        with self._lock.writing():
            self._index, self._rows = self._exact_index(), rows.empty()


def _longest(vectors: Vectors) -> float:
    """Largest Euclidean length of the rows of `vectors` (n, dim)."""
    return float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max())) if len(vectors) else 0.0
