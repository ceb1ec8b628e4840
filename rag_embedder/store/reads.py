"""Questions about items. Every function runs inside the caller's read transaction."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rag_embedder.filters import compile_filter
from rag_embedder.store import checksums, json_values
from rag_embedder.store.faults import corrupt
from rag_embedder.store.records import StoredItem
from rag_embedder.types import Numbers

COLUMNS = "n, kind, scope, id, part, digest, payload, metadata, crc"


def to_item(row: tuple[Any, ...], where: str) -> StoredItem:
    """A row of COLUMNS as a record.

    Raises:
        StoreCorruptError: if its checksum differs, naming the row.
    """
    n, kind, scope, entry_id, part, digest, payload, metadata, crc = row
    try:
        intact = checksums.of_item(n, (kind, scope, entry_id, part), (digest, payload, metadata)) == crc
    except TypeError:  # a damaged row may hold another type
        intact = False
    if not intact:
        raise corrupt(where, f"truth.db, table item, row {n} does not match its checksum")
    return StoredItem(n, kind, scope, entry_id, part, json_values.decode(payload), json_values.decode(metadata))


def _condition(kind: str, scope: str | None, metadata_filter: Mapping[str, Any] | None) -> tuple[str, list[Any]]:
    sql, values = "kind = ?", [kind]
    if scope is not None:
        sql, values = f"{sql} AND scope = ?", [*values, scope]
    if metadata_filter:
        filter_sql, filter_values = compile_filter(metadata_filter)
        sql, values = f"{sql} AND ({filter_sql})", [*values, *filter_values]
    return sql, values


def digests(connection: sqlite3.Connection, kind: str, scope: str, ids: Sequence[str]) -> dict[str, str]:
    """Digest of each of `ids` that is stored."""
    rows = connection.execute(
        "SELECT id, digest FROM item WHERE kind = ? AND scope = ? AND part = 0"
        " AND id IN (SELECT value FROM json_each(?))",
        [kind, scope, json.dumps(list(ids))],
    )
    return dict(rows.fetchall())


def count(
    connection: sqlite3.Connection, kind: str, scope: str | None, metadata_filter: Mapping[str, Any] | None
) -> int:
    """Number of entries."""
    condition, values = _condition(kind, scope, metadata_filter)
    return connection.execute(f"SELECT COUNT(*) FROM item WHERE part = 0 AND {condition}", values).fetchone()[0]


def select(
    connection: sqlite3.Connection, kind: str, scope: str | None, metadata_filter: Mapping[str, Any] | None
) -> Numbers:
    """Row numbers that match, ascending."""
    condition, values = _condition(kind, scope, metadata_filter)
    rows = connection.execute(f"SELECT n FROM item WHERE {condition} ORDER BY n", values)
    return np.fromiter((n for (n,) in rows), np.int64)


def items(connection: sqlite3.Connection, numbers: Iterable[int], where: str) -> dict[int, StoredItem]:
    """The items of these rows that still exist, by row number."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM item WHERE n IN (SELECT value FROM json_each(?))",
        [json.dumps([int(n) for n in numbers])],
    )
    return {row[0]: to_item(row, where) for row in rows}


def part(
    connection: sqlite3.Connection, kind: str, scope: str, entry_id: str, part: int, where: str
) -> StoredItem | None:
    """One part of one entry."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM item WHERE kind = ? AND scope = ? AND id = ? AND part = ?",
        [kind, scope, entry_id, part],
    )
    return next((to_item(row, where) for row in rows), None)


def latest(
    connection: sqlite3.Connection,
    kind: str,
    scope: str | None,
    limit: int,
    metadata_filter: Mapping[str, Any] | None,
    where: str,
) -> list[StoredItem]:
    """The items that came last, newest first."""
    condition, values = _condition(kind, scope, metadata_filter)
    rows = connection.execute(f"SELECT {COLUMNS} FROM item WHERE {condition} ORDER BY n DESC LIMIT ?", [*values, limit])
    return [to_item(row, where) for row in rows]


def page(
    connection: sqlite3.Connection, kind: str, scope: str | None, after_n: int, limit: int, where: str
) -> list[StoredItem]:
    """Up to `limit` items with n > after_n, oldest first."""
    condition, values = _condition(kind, scope, None)
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM item WHERE {condition} AND n > ? ORDER BY n LIMIT ?", [*values, after_n, limit]
    )
    return [to_item(row, where) for row in rows]


def missing(
    connection: sqlite3.Connection, kind: str, space: int, after_n: int, limit: int, where: str
) -> list[StoredItem]:
    """Up to `limit` items of a kind with n > after_n that have no vector in a space, oldest first."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM item WHERE kind = ? AND n > ?"
        " AND NOT EXISTS (SELECT 1 FROM vector WHERE vector.n = item.n AND vector.space = ?) ORDER BY n LIMIT ?",
        [kind, after_n, space, limit],
    )
    return [to_item(row, where) for row in rows]
