"""Where an index lives and what it must prove before its cache is believed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rag_embedder.protocols import VectorIndex


@dataclass(frozen=True, slots=True)
class IndexPlace:
    """One space of one store, seen by an index.

    `folder` is the store's cache folder, None in memory. `generation()` reads the generation that a believable cache
    carries; `bump()` makes all earlier caches worthless and returns the new one.
    """

    dim: int
    folder: Path | None
    store_id: str
    space: int
    fingerprint: str
    generation: Callable[[], int]
    bump: Callable[[], int]

    def identity(self, generation: int) -> dict[str, object]:
        """What a cache of this generation must say of itself to be believed."""
        return {
            "format": 1,
            "store_id": self.store_id,
            "space": self.space,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "generation": generation,
        }


class IndexSettings(Protocol):
    """The options of one back-end."""

    def open(self, place: IndexPlace) -> VectorIndex:
        """The index with what its cache holds, which may be behind or ahead of the truth."""
        ...
