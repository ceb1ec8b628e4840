"""What a reader must know to bring its index up to the truth. All functions run inside one read transaction."""

import json
import sqlite3

import numpy as np

from rag_embedder.store import checksums
from rag_embedder.store.faults import corrupt
from rag_embedder.store.records import START, Changes, Position, SpaceInfo
from rag_embedder.types import Numbers, Vectors

_BLOCK = 1024


def position(connection: sqlite3.Connection) -> Position:
    """The end of the feed."""
    last = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    return Position(last.get("vector", 0), last.get("gone", 0))


def changes(connection: sqlite3.Connection, space: SpaceInfo, after: Position, where: str) -> Changes:
    """Rows that came and went after a position.

    Memory: the result plus one block of rows when everything is read, twice the result otherwise.

    Raises:
        StoreCorruptError: if a vector does not match its checksum, or rows are missing.
    """
    rows = connection.execute(
        "SELECT n, crc, vec FROM vector WHERE seq > ? AND space = ? ORDER BY seq", [after.last_vector, space.space]
    )
    # Only at the start is the number of rows known without reading them.
    expected = space.num_vectors if after.last_vector == START.last_vector else None
    numbers, vectors = _gather(rows, space, expected, where)
    gone = connection.execute("SELECT DISTINCT n FROM gone WHERE seq > ? ORDER BY n", [after.last_gone])
    removed = np.fromiter((n for (n,) in gone), np.int64)
    return Changes(numbers, vectors, removed, position(connection))


def numbers(connection: sqlite3.Connection, space: int) -> Numbers:
    """All row numbers of a space, ascending."""
    rows = connection.execute("SELECT n FROM vector INDEXED BY vector_by_item WHERE space = ? ORDER BY n", [space])
    return np.fromiter((n for (n,) in rows), np.int64)


def vectors(connection: sqlite3.Connection, space: SpaceInfo, wanted: Numbers, where: str) -> tuple[Numbers, Vectors]:
    """The rows of `wanted` that exist in a space, ascending, with their vectors."""
    rows = connection.execute(
        "SELECT n, crc, vec FROM vector WHERE space = ? AND n IN (SELECT value FROM json_each(?)) ORDER BY n",
        [space.space, json.dumps(wanted.tolist())],
    )
    return _gather(rows, space, None, where)


def _gather(rows: sqlite3.Cursor, space: SpaceInfo, expected: int | None, where: str) -> tuple[Numbers, Vectors]:
    """The rows (n, crc, vec) of a cursor as arrays, each checked."""
    number_blocks: list[Numbers] = [np.empty(0, np.int64)]
    vector_blocks: list[Vectors] = [np.empty((0, space.dim), np.float32)]
    whole = None if expected is None else np.empty((expected, space.dim), np.float32)
    filled = 0
    while block := rows.fetchmany(_BLOCK):
        decoded = _decode(block, space, where)
        number_blocks.append(np.array([row[0] for row in block], np.int64))
        if whole is None:
            vector_blocks.append(decoded)
        elif filled + len(block) <= len(whole):
            whole[filled : filled + len(block)] = decoded
        filled += len(block)
    if whole is not None and filled != len(whole):
        raise corrupt(where, f"truth.db, table vector, space {space.space} has {filled} rows instead of {len(whole)}")
    return np.concatenate(number_blocks), np.concatenate(vector_blocks) if whole is None else whole


def _decode(block: list[tuple[int, int, bytes]], space: SpaceInfo, where: str) -> Vectors:
    width = 4 * space.dim
    for n, crc, content in block:
        if (
            not isinstance(content, bytes)
            or len(content) != width
            or checksums.of_vector(space.space, n, content) != crc
        ):
            raise corrupt(where, f"truth.db, table vector, space {space.space}, row {n} does not match its checksum")
    joined = b"".join(content for _, _, content in block)
    return np.frombuffer(joined, dtype="<f4").reshape(len(block), space.dim).astype(np.float32, copy=False)
