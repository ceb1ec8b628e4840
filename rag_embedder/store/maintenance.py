"""Checking a whole store, and copying it while it is used."""

import sqlite3
from contextlib import closing
from pathlib import Path

from rag_embedder.errors import StoreCorruptError, StoreFormatError
from rag_embedder.store import checksums, folder, reads


def problems(connection: sqlite3.Connection, where: str) -> list[str]:
    """One line for each fault found in the database, in a read transaction; empty if it is sound."""
    try:
        return [
            *(f"truth.db: {line}" for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"),
            *_bad_items(connection, where),
            *_bad_vectors(connection),
            *_bad_counts(connection),
        ]
    except sqlite3.Error as fault:
        return [f"truth.db cannot be read to its end: {type(fault).__name__}"]


def _bad_items(connection: sqlite3.Connection, where: str) -> list[str]:
    found = []
    for row in connection.execute(f"SELECT {reads.COLUMNS} FROM item"):
        try:
            reads.to_item(row, where)
        except StoreCorruptError:
            found.append(f"truth.db, table item, row {row[0]}: checksum differs")
    return found


def _bad_vectors(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT vector.space, vector.n, vector.crc, vec, dim, item.n FROM vector"
        " LEFT JOIN space USING (space) LEFT JOIN item ON item.n = vector.n"
    )
    found = []
    for space, n, crc, content, dim, owner in rows:
        place = f"truth.db, table vector, space {space}, row {n}"
        if not isinstance(content, bytes) or checksums.of_vector(space, n, content) != crc:
            found.append(f"{place}: checksum differs")
        elif dim is None or len(content) != 4 * dim:
            found.append(f"{place}: does not fit its space")
        elif owner is None:
            found.append(f"{place}: its item is missing")
    return found


def _bad_counts(connection: sqlite3.Connection) -> list[str]:
    found = []
    (kept,) = connection.execute("SELECT value FROM meta WHERE key = 'num_items'").fetchone()
    (held,) = connection.execute("SELECT COUNT(*) FROM item NOT INDEXED").fetchone()
    if kept != held:
        found.append(f"truth.db, table item: {held} rows instead of {kept}")
    rows = connection.execute(
        "SELECT space.space, num_vectors, COUNT(vector.seq) FROM space LEFT JOIN vector NOT INDEXED USING (space)"
        " GROUP BY space.space"
    )
    found += [
        f"truth.db, table vector, space {space}: {held} rows instead of {kept}"
        for space, kept, held in rows
        if kept != held
    ]
    return found


def copy_to(connection: sqlite3.Connection, target: Path, store_id: str) -> None:
    """Write the state that `connection` sees as a new store in `target`, made durable.

    Raises:
        StoreFormatError: if `target` exists and is not an empty folder.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StoreFormatError(f"{target} exists and is not an empty folder; give a new path.", path=str(target))
    folder.prepare(target)
    with closing(sqlite3.connect(target / folder.TRUTH)) as copy:
        connection.backup(copy)
    folder.write_marker(target, store_id)
