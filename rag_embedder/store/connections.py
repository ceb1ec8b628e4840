"""SQLite connections of one store: one that writes, a few that read, shared by all threads of one process."""

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_embedder.errors import StoreClosedError, StoreForkedError
from rag_embedder.store.faults import locked, translated
from rag_embedder.store.folder import TRUTH

_MAX_READERS = 4
_ABANDONED: list[sqlite3.Connection] = []


class Connections:
    """Gives out read and write transactions.

    On disk, readers have their own connections (write-ahead log): a commit that waits for the disk blocks nobody.
    In memory there is one connection, which everyone shares in turn.
    """

    def __init__(self, folder: Path | None, lock_timeout: float) -> None:
        self.where = str(folder) if folder is not None else "(memory)"
        self._folder = folder
        self._timeout = lock_timeout
        self._pid = os.getpid()
        self._closed = False
        self._writing = threading.RLock()
        self._idle: list[sqlite3.Connection] = []
        self._reading = threading.BoundedSemaphore(_MAX_READERS)
        with translated(self.where):
            self._writer = self._connect()
        _LIVE.add(self)

    def _connect(self) -> sqlite3.Connection:
        memory = self._folder is None
        target = ":memory:" if self._folder is None else f"{(self._folder / TRUTH).absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            target, timeout=self._timeout, isolation_level=None, check_same_thread=False, uri=not memory
        )
        try:
            for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL", "fullfsync=ON"):
                connection.execute(f"PRAGMA {pragma}")
            if not memory:
                _use_write_ahead_log(connection, time.monotonic() + self._timeout)
                connection.execute("PRAGMA journal_size_limit=67108864")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_usable(self) -> None:
        if self._pid != os.getpid():
            raise StoreForkedError(
                f"the store at {self.where} was opened before fork(); open it again in the child process.",
                path=self.where,
            )
        if self._closed:
            raise StoreClosedError(f"the store at {self.where} is closed; open it again.", path=self.where)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: committed at the end of the block, undone by any exception."""
        self._check_usable()
        with translated(self.where):
            if not self._writing.acquire(timeout=max(self._timeout, 0.0)):
                raise locked(self.where)
            try:
                self._check_usable()
                with _transaction(self._writer, "BEGIN IMMEDIATE"):
                    before = self._writer.total_changes
                    yield self._writer
                    if self._writer.total_changes != before:
                        self._writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'clock'")
            finally:
                self._writing.release()

    @contextmanager
    def setup(self) -> Iterator[sqlite3.Connection]:
        """The write transaction that makes the tables: there is no clock to advance yet."""
        with translated(self.where), self._writing, _transaction(self._writer, "BEGIN IMMEDIATE"):
            yield self._writer

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One read transaction: everything in the block sees the same state."""
        self._check_usable()
        with translated(self.where), self._borrowed() as connection, _transaction(connection, "BEGIN"):
            yield connection

    def clock(self) -> int:
        """Number of write transactions so far, of all processes; far cheaper than `read()`."""
        self._check_usable()
        with translated(self.where), self._borrowed() as connection:
            return connection.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()[0]

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        if self._folder is None:
            with self._writing:
                self._check_usable()
                yield self._writer
            return
        with self._reading:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            finally:
                # A reader that outlives close() gives its file back itself.
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    def close(self) -> None:
        """Give back all files; a second call does nothing. Waits for a running write, not for running reads."""
        if self._closed or self._pid != os.getpid():
            return
        with self._writing:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            self._writer.close()
        _LIVE.discard(self)

    def abandon(self) -> None:
        """Keep the connections of the parent process untouched in a forked child, not even closed.

        Source: sqlite.org/howtocorrupt.html, section 2.6.
        """
        _ABANDONED.extend([self._writer, *self._idle])


def _use_write_ahead_log(connection: sqlite3.Connection, deadline: float) -> None:
    # Where two connections switch a new file together, SQLite answers "busy" at once: waiting, it says, could block
    # both for ever. It is right only if both keep their locks; here each lets go and tries again.
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as fault:
            is_busy = fault.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not is_busy or time.monotonic() >= deadline:
                raise
            time.sleep(0.001 + 0.01 * random.random())


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_LIVE: weakref.WeakSet[Connections] = weakref.WeakSet()


def _abandon_all() -> None:
    for connections in list(_LIVE):
        connections.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
