"""Spaces: which model made the vectors of which kind for which scenario."""

import sqlite3
from typing import Any

from rag_embedder.errors import ConfigError, ModelMismatchError
from rag_embedder.store.records import SpaceInfo

_COLUMNS = "space, kind, scenario, fingerprint, model, dim, num_vectors"


def every(connection: sqlite3.Connection) -> tuple[SpaceInfo, ...]:
    """All spaces, in the order they were made."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM space ORDER BY space")
    return tuple(SpaceInfo(*row) for row in rows)


def one(connection: sqlite3.Connection, space: int) -> SpaceInfo:
    """One space.

    Raises:
        ConfigError: if it does not exist.
    """
    row = connection.execute(f"SELECT {_COLUMNS} FROM space WHERE space = ?", [space]).fetchone()
    if row is None:
        raise ConfigError(f"space {space} does not exist in this store; use the number that open_space() returned.")
    return SpaceInfo(*row)


def find(connection: sqlite3.Connection, wanted: SpaceInfo, where: str) -> int | None:
    """The number of the space for (kind, scenario), None if there is none yet.

    Raises:
        ModelMismatchError: if it was made by another model or with other instructions.
    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM space WHERE kind = ? AND scenario = ?", [wanted.kind, wanted.scenario]
    ).fetchone()
    if row is None:
        return None
    stored = SpaceInfo(*row)
    if (stored.fingerprint, stored.dim) != (wanted.fingerprint, wanted.dim):
        raise ModelMismatchError(
            f"the store at {where} holds {stored.kind} vectors of scenario {stored.scenario!r} made by "
            f"{_describe(stored)}; got {_describe(wanted)}. Nothing was changed. Open the store with the first model "
            "(same weights and instructions), or give a new path and add the documents again.",
            path=where,
        )
    return stored.space


def _describe(space: SpaceInfo) -> str:
    return f"{space.model!r} (fingerprint {space.fingerprint[:12]}, {space.dim} dimensions)"


def add(connection: sqlite3.Connection, wanted: SpaceInfo) -> int:
    """Register a space inside a write transaction."""
    values: list[Any] = [wanted.kind, wanted.scenario, wanted.fingerprint, wanted.model, wanted.dim]
    cursor = connection.execute(
        "INSERT INTO space(kind, scenario, fingerprint, model, dim) VALUES (?, ?, ?, ?, ?)", values
    )
    return int(cursor.lastrowid or 0)
