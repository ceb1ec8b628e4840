"""Changes to the truth. Every function runs inside the caller's write transaction."""

import json
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from rag_embedder.errors import DuplicateIdError, InputError, VectorError
from rag_embedder.store import checksums, json_values
from rag_embedder.store.records import NewEntry, SpaceInfo
from rag_embedder.types import Numbers, Vectors

_INSERT_VECTOR = "INSERT {} INTO vector(space, n, crc, vec) VALUES (?, ?, ?, ?)"
EncodedPart = tuple[tuple[str, str, str, int], tuple[str, str, str]]
"""(kind, scope, id, part) and (digest, payload, metadata) of a row that has no number yet."""


def encode_entries(kind: str, entries: Sequence[NewEntry]) -> list[EncodedPart]:
    """All parts of all entries as row values, checked; needs no transaction.

    Raises:
        InputError: if an id, a scope or a value cannot be stored, or an entry has no part.
        DuplicateIdError: if one (scope, id) occurs twice.
    """
    rows: list[EncodedPart] = []
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        entry_id, scope = json_values.check_id(entry.id, "id"), json_values.check_scope(entry.scope)
        if (scope, entry_id) in seen:
            raise DuplicateIdError(f"id {entry_id!r} occurs twice in one call. Nothing was added. Give each id once.")
        if not entry.parts:
            raise InputError(f"entry {entry_id!r} has no parts; expected at least one. Nothing was added.")
        seen.add((scope, entry_id))
        for part, new in enumerate(entry.parts):
            payload = json_values.encode(new.payload, "payload", entry_id)
            metadata = json_values.encode(new.metadata, "metadata", entry_id)
            rows.append(((kind, scope, entry_id, part), (entry.digest, payload, metadata)))
    return rows


def check_vectors(vectors: Vectors, count: int, space: SpaceInfo) -> Vectors:
    """`vectors` as little-endian float32, shape (count, dim of the space).

    Raises:
        VectorError: if the shape differs or a component is not finite.
    """
    given = np.asarray(vectors)
    if given.shape != (count, space.dim):
        raise VectorError(
            f"vectors have shape {given.shape}; expected ({count}, {space.dim}) for the {space.kind} items of "
            f"scenario {space.scenario!r}. Nothing was added."
        )
    converted = np.ascontiguousarray(given, dtype="<f4")
    finite = np.isfinite(converted).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise VectorError(f"vector {row} holds NaN or infinity; expected finite numbers. Nothing was added.")
    return converted


def put(connection: sqlite3.Connection, rows: Sequence[EncodedPart], space: int, vectors: Vectors) -> None:
    """Replace entries: what was stored under their ids goes, then the rows come in with their vectors."""
    connection.executemany(
        "DELETE FROM item WHERE kind = ? AND scope = ? AND id = ?", [key[:3] for key, _ in rows if key[3] == 0]
    )
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'item'").fetchone()
    first = (last[0] if last else 0) + 1
    connection.executemany(
        "INSERT INTO item(n, kind, scope, id, part, digest, payload, metadata, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((n, *key, *texts, checksums.of_item(n, key, texts)) for n, (key, texts) in enumerate(rows, first)),
    )
    numbers = np.arange(first, first + len(rows), dtype=np.int64)
    connection.executemany(_INSERT_VECTOR.format(""), _vector_rows(space, numbers, vectors))


def put_vectors(connection: sqlite3.Connection, space: int, numbers: Numbers, vectors: Vectors) -> None:
    """Add vectors of items that exist and have none in this space; others are passed over."""
    alive = connection.execute(
        "SELECT n FROM item WHERE n IN (SELECT value FROM json_each(?))", [json.dumps(numbers.tolist())]
    )
    here = np.isin(numbers, np.fromiter((n for (n,) in alive), np.int64))
    connection.executemany(_INSERT_VECTOR.format("OR IGNORE"), _vector_rows(space, numbers[here], vectors[here]))


def _vector_rows(space: int, numbers: Numbers, vectors: Vectors) -> Iterator[tuple[int, int, int, bytes]]:
    for n, vector in zip(numbers.tolist(), vectors, strict=True):
        content = vector.tobytes()
        yield space, n, checksums.of_vector(space, n, content), content


def delete(connection: sqlite3.Connection, kind: str, scope: str, ids: Sequence[str]) -> int:
    """Number of entries that were there and are gone."""
    found = connection.execute(
        "SELECT id FROM item WHERE kind = ? AND scope = ? AND part = 0 AND id IN (SELECT value FROM json_each(?))",
        [kind, scope, json.dumps(list(ids))],
    ).fetchall()
    connection.executemany(
        "DELETE FROM item WHERE kind = ? AND scope = ? AND id = ?", [(kind, scope, entry_id) for (entry_id,) in found]
    )
    return len(found)


def delete_scope(connection: sqlite3.Connection, kind: str, scope: str) -> int:
    """Number of entries of one scope that are gone."""
    (count,) = connection.execute(
        "SELECT COUNT(*) FROM item WHERE kind = ? AND scope = ? AND part = 0", [kind, scope]
    ).fetchone()
    connection.execute("DELETE FROM item WHERE kind = ? AND scope = ?", [kind, scope])
    return count
