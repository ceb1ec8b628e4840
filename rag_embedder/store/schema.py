"""The tables of truth.db, and the check that a database is one of ours."""

import sqlite3
import uuid

from rag_embedder.errors import StoreFormatError
from rag_embedder.store.faults import corrupt

FORMAT = 1
_APPLICATION_ID = 0x52414745  # "RAGE": tells our databases from any other SQLite file

# Triggers keep the invariants, so that no code path can forget one: an item that goes takes its vectors along and
# leaves a line in the change feed, and every space knows how many vectors it must have.
# vector.seq, not n, orders the change feed: a second scenario may add the vector of an old item much later.
_TABLES = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE space(space INTEGER PRIMARY KEY, kind TEXT NOT NULL, scenario TEXT NOT NULL,"
    " fingerprint TEXT NOT NULL, model TEXT NOT NULL, dim INTEGER NOT NULL, num_vectors INTEGER NOT NULL DEFAULT 0,"
    " cache_generation INTEGER NOT NULL DEFAULT 0, UNIQUE(kind, scenario))",
    "CREATE TABLE item(n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, scope TEXT NOT NULL, id TEXT NOT NULL,"
    " part INTEGER NOT NULL, payload TEXT NOT NULL, metadata TEXT NOT NULL, digest TEXT NOT NULL, crc INTEGER NOT NULL,"
    " UNIQUE(kind, scope, id, part))",
    "CREATE INDEX item_by_kind ON item(kind)",
    "CREATE INDEX item_by_scope ON item(kind, scope)",
    "CREATE TABLE vector(seq INTEGER PRIMARY KEY AUTOINCREMENT, space INTEGER NOT NULL, n INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, vec BLOB NOT NULL)",
    "CREATE UNIQUE INDEX vector_by_item ON vector(n, space)",
    "CREATE TABLE gone(seq INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL)",
    "CREATE TRIGGER item_added AFTER INSERT ON item BEGIN"
    " UPDATE meta SET value = value + 1 WHERE key = 'num_items'; END",
    "CREATE TRIGGER item_gone AFTER DELETE ON item BEGIN"
    " DELETE FROM vector WHERE n = OLD.n;"
    " INSERT INTO gone(n) VALUES (OLD.n);"
    " UPDATE meta SET value = value - 1 WHERE key = 'num_items'; END",
    "CREATE TRIGGER vector_added AFTER INSERT ON vector BEGIN"
    " UPDATE space SET num_vectors = num_vectors + 1 WHERE space = NEW.space; END",
    "CREATE TRIGGER vector_gone AFTER DELETE ON vector BEGIN"
    " UPDATE space SET num_vectors = num_vectors - 1 WHERE space = OLD.space; END",
)


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0] == 0


def create_if_empty(connection: sqlite3.Connection) -> None:
    """Make the tables inside the caller's write transaction, unless they are there."""
    if not _is_empty(connection):
        return
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.executemany(
        "INSERT INTO meta(key, value) VALUES (?, ?)",
        [("format", FORMAT), ("store_id", str(uuid.uuid4())), ("clock", 0), ("num_items", 0)],
    )


def check(connection: sqlite3.Connection, where: str) -> str:
    """The store id of an opened database.

    Raises:
        StoreFormatError: if it is another program's database, or of a newer format.
        StoreCorruptError: if it was emptied.
    """
    if _is_empty(connection):
        raise corrupt(where, "truth.db is empty although the store was created before")
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise StoreFormatError(f"{where} is not a rag_embedder store: its truth.db has other content.", path=where)
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    check_format(meta.get("format"), where)
    if not isinstance(meta.get("store_id"), str):
        raise corrupt(where, "truth.db has no store id")
    return meta["store_id"]


def check_format(found: object, where: str) -> None:
    """Refuse a format that this version cannot read.

    Raises:
        StoreFormatError: naming both versions.
    """
    if found != FORMAT:
        raise StoreFormatError(
            f"the store at {where} has format {found!r}; this version reads format {FORMAT}. "
            "Nothing was changed. Install the rag-embedder version that wrote it.",
            path=where,
        )
