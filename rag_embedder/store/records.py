"""The frozen records that go into the store and come out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rag_embedder.types import Metadata, Numbers, Vectors


def _no_metadata() -> Metadata:
    return {}


@dataclass(frozen=True, slots=True)
class NewPart:
    """One piece of an entry that gets its own vector. Both mappings hold JSON values only."""

    payload: Mapping[str, Any]
    metadata: Metadata = field(default_factory=_no_metadata)


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One user-visible entry, made of one or more parts.

    `digest` is the caller's hash of everything that decides the parts and their vectors; `scope` isolates users.
    """

    id: str
    parts: tuple[NewPart, ...]
    digest: str
    scope: str = ""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One stored part. `n` is its row number: growing in order of insertion, never used again."""

    n: int
    kind: str
    scope: str
    id: str
    part: int
    payload: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SpaceInfo:
    """The vectors that one model gave the items of one kind for one scenario."""

    space: int
    kind: str
    scenario: str
    fingerprint: str
    model: str
    dim: int
    num_vectors: int


class Position(NamedTuple):
    """How far a reader has followed the change feed: the last vector and the last removal it has seen."""

    last_vector: int
    last_gone: int


START = Position(0, 0)
"""The position of a reader that has seen nothing."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened in one space since a position, as one consistent state.

    `numbers` (n,) are in the order of insertion, `vectors` is (n, dim), `removed` is ascending and may name
    rows that the reader never saw.
    """

    numbers: Numbers
    vectors: Vectors
    removed: Numbers
    position: Position
