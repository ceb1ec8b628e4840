"""`Store`: the public face of the truth. What it returns is on disk, whatever happens next."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from rag_embedder.errors import InputError
from rag_embedder.store import change_feed, folder, maintenance, reads, schema, spaces, writes
from rag_embedder.store.connections import Connections
from rag_embedder.store.faults import corrupt, translated
from rag_embedder.store.records import Changes, NewEntry, Position, SpaceInfo, StoredItem
from rag_embedder.types import Numbers, Vectors

_PAGE = 1000
_EVERYTHING = -1  # SQLite's LIMIT for no limit


class Store:
    """Items of several kinds, their vectors in several spaces, and a feed of changes.

    Any number of threads and processes may open, read and write one path: SQLite's write lock orders the writers,
    readers see whole transactions only. Each write is durable when it returns (write-ahead log, `synchronous=FULL`).
    Every method may raise the errors below `StoreError`.
    """

    def __init__(self, connections: Connections, path: Path | None, store_id: str) -> None:
        self._connections = connections
        self.path = path
        self.store_id = store_id

    @classmethod
    def open(cls, path: str | Path | None = None, *, lock_timeout: float = 30.0) -> Self:
        """Open or create a store; without a path it lives in memory. `lock_timeout` is in seconds.

        Raises:
            StoreFormatError: if the path is something else, or of a newer format.
            StoreCorruptError: if a part of the store is missing or unreadable.
        """
        # Absolute, because connections and caches are opened later, perhaps after a change of the working folder.
        where = Path(path).expanduser().absolute() if path is not None else None
        shown = str(where) if where is not None else "(memory)"
        with translated(shown):
            expected = folder.prepare(where) if where is not None else None
            connections = Connections(where, lock_timeout)
            try:
                if expected is None:
                    with connections.setup() as connection:
                        schema.create_if_empty(connection)
                with connections.read() as connection:
                    store_id = schema.check(connection, shown)
                if expected not in (None, store_id):
                    raise corrupt(shown, f"{folder.MARKER} and {folder.TRUTH} belong to different stores")
                if where is not None:
                    (where / folder.CACHE).mkdir(mode=0o700, exist_ok=True)
                    if expected is None:
                        folder.write_marker(where, store_id)
            except BaseException:
                connections.close()
                raise
        return cls(connections, where, store_id)

    @property
    def cache_folder(self) -> Path | None:
        """Where indexes keep what they can rebuild; None in memory."""
        return None if self.path is None else self.path / folder.CACHE

    def close(self) -> None:
        """Give back all files. A second call does nothing."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Store cannot be pickled or copied; pass its path and call Store.open(path) there.")

    # --- spaces

    def open_space(self, *, kind: str, scenario: str, fingerprint: str, model: str, dim: int) -> int:
        """The number of the space for (kind, scenario), registered if it is new. `model` is shown in messages.

        Raises:
            ModelMismatchError: if the space exists with another fingerprint or dimension.
        """
        wanted = SpaceInfo(0, kind, scenario, fingerprint, model, dim, 0)
        with self._connections.read() as connection:
            found = spaces.find(connection, wanted, self._connections.where)
        if found is not None:
            return found
        with self._connections.write() as connection:
            found = spaces.find(connection, wanted, self._connections.where)
            return found if found is not None else spaces.add(connection, wanted)

    def spaces(self) -> tuple[SpaceInfo, ...]:
        """All spaces, in the order they were registered."""
        with self._connections.read() as connection:
            return spaces.every(connection)

    # --- writing

    def put(self, kind: str, entries: Sequence[NewEntry], *, space: int, vectors: Vectors) -> None:
        """Add entries, or replace those with the same scope and id, in one transaction.

        `vectors` (parts of all entries in order, dim) go into `space`.

        Raises:
            InputError: if an id or a value cannot be stored, or the space is of another kind.
            DuplicateIdError: if one id occurs twice.
            VectorError: if the vectors have the wrong shape or are not finite.
        """
        rows = writes.encode_entries(kind, entries)
        checked = writes.check_vectors(vectors, len(rows), self._space(space, kind))
        if not rows:
            return
        with self._connections.write() as connection:
            writes.put(connection, rows, space, checked)

    def put_vectors(self, space: int, numbers: Sequence[int] | Numbers, vectors: Vectors) -> None:
        """Add the vectors (n, dim) of items that `missing` reported; items that are gone by now are passed over."""
        rows = np.asarray(numbers, np.int64)
        checked = writes.check_vectors(vectors, len(rows), self._space(space))
        with self._connections.write() as connection:
            writes.put_vectors(connection, space, rows, checked)

    def delete(self, kind: str, scope: str, ids: Sequence[str]) -> int:
        """Remove entries; returns how many of them were there."""
        with self._connections.write() as connection:
            return writes.delete(connection, kind, scope, ids)

    def delete_scope(self, kind: str, scope: str) -> int:
        """Remove all entries of one scope; returns how many there were."""
        with self._connections.write() as connection:
            return writes.delete_scope(connection, kind, scope)

    # --- reading items

    def digests(self, kind: str, scope: str, ids: Sequence[str]) -> dict[str, str]:
        """Digest of each entry of `ids` that is stored."""
        with self._connections.read() as connection:
            return reads.digests(connection, kind, scope, ids)

    def count(self, kind: str, *, scope: str | None = None, metadata_filter: Mapping[str, Any] | None = None) -> int:
        """Number of entries; `scope=None` counts all scopes, a filter looks at the metadata of the first part."""
        with self._connections.read() as connection:
            return reads.count(connection, kind, scope, metadata_filter)

    def select(self, kind: str, *, scope: str | None = None, filter: Mapping[str, Any] | None = None) -> Numbers:
        """Ascending row numbers of the parts that match; `scope=None` means all scopes."""
        with self._connections.read() as connection:
            return reads.select(connection, kind, scope, filter)

    def items(self, numbers: Sequence[int] | Numbers) -> dict[int, StoredItem]:
        """The items of these rows by row number; rows that are gone are left out."""
        with self._connections.read() as connection:
            return reads.items(connection, numbers, self._connections.where)

    def part(self, kind: str, scope: str, entry_id: str, part: int = 0) -> StoredItem | None:
        """One part of one entry; None if it is not stored."""
        with self._connections.read() as connection:
            return reads.part(connection, kind, scope, entry_id, part, self._connections.where)

    def latest(
        self, kind: str, scope: str | None, *, limit: int, metadata_filter: Mapping[str, Any] | None = None
    ) -> list[StoredItem]:
        """Up to `limit` items, newest first by order of insertion."""
        if limit < 0:
            raise InputError(f"limit: got {limit}; expected 0 or more.")
        with self._connections.read() as connection:
            return reads.latest(connection, kind, scope, limit, metadata_filter, self._connections.where)

    def iter_items(self, kind: str, *, scope: str | None = None, after_n: int = 0) -> Iterator[StoredItem]:
        """All items with n > after_n, oldest first. Read page by page, so changes made meanwhile may show."""
        while True:
            with self._connections.read() as connection:
                page = reads.page(connection, kind, scope, after_n, _PAGE, self._connections.where)
            yield from page
            if len(page) < _PAGE:
                return
            after_n = page[-1].n

    # --- following the truth

    def clock(self) -> int:
        """Grows with every write of any process: equal clocks mean that nothing changed."""
        return self._connections.clock()

    def changes(self, space: int, after: Position) -> Changes:
        """Vectors that came and rows that went after a position (`START` for everything), as one state.

        Raises:
            StoreCorruptError: naming the first row whose checksum differs.
        """
        with self._connections.read() as connection:
            return change_feed.changes(connection, spaces.one(connection, space), after, self._connections.where)

    def vector_numbers(self, space: int) -> tuple[Numbers, Position]:
        """All row numbers of a space, ascending, and the position in the feed at which that is true."""
        with self._connections.read() as connection:
            return change_feed.numbers(connection, space), change_feed.position(connection)

    def vectors(self, space: int, numbers: Numbers) -> tuple[Numbers, Vectors]:
        """Those of `numbers` that have a vector in the space, ascending, and the vectors (n, dim)."""
        with self._connections.read() as connection:
            return change_feed.vectors(connection, spaces.one(connection, space), numbers, self._connections.where)

    def missing(self, kind: str, space: int, after_n: int = 0, *, limit: int | None = None) -> list[StoredItem]:
        """Items of this kind with n > after_n that have no vector in the space, oldest first."""
        most = _EVERYTHING if limit is None else limit
        with self._connections.read() as connection:
            return reads.missing(connection, kind, space, after_n, most, self._connections.where)

    # --- caches

    def cache_generation(self, space: int) -> int:
        """Generation of the only index cache of a space that may be believed."""
        with self._connections.read() as connection:
            spaces.one(connection, space)
            row = connection.execute("SELECT cache_generation FROM space WHERE space = ?", [space]).fetchone()
            return row[0]

    def bump_cache_generation(self, space: int) -> int:
        """Make all caches of a space worthless; returns the generation that a new one must carry."""
        with self._connections.write() as connection:
            connection.execute("UPDATE space SET cache_generation = cache_generation + 1 WHERE space = ?", [space])
            row = connection.execute("SELECT cache_generation FROM space WHERE space = ?", [space]).fetchone()
            return row[0]

    # --- maintenance

    def verify(self) -> list[str]:
        """Read everything and name every row that is damaged; an empty list means the store is sound."""
        with self._connections.read() as connection:
            return maintenance.problems(connection, self._connections.where)

    def backup(self, target: str | Path) -> None:
        """Copy the store as it is now into a new folder, also while others write.

        Raises:
            StoreFormatError: if the folder exists and is not empty.
        """
        with translated(str(target)), self._connections.read() as connection:
            maintenance.copy_to(connection, Path(target), self.store_id)

    def _space(self, space: int, kind: str | None = None) -> SpaceInfo:
        with self._connections.read() as connection:
            found = spaces.one(connection, space)
        if kind is not None and found.kind != kind:
            raise InputError(f"space {space} holds vectors of kind {found.kind!r}; got items of kind {kind!r}.")
        return found
