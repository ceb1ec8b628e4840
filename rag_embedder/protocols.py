"""The seams a user may implement: text to vectors, pairs of texts to scores, and vectors to the nearest ones."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rag_embedder.types import Numbers, Vectors


class TextEncoder(Protocol):
    """What retrieval needs of an encoder; `Embedder` is the one we ship."""

    @property
    def dim(self) -> int:
        """Length of one vector."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens the model reads, instruction and special tokens included."""
        ...

    @property
    def name(self) -> str:
        """Human-readable model name, used in messages."""
        ...

    def fingerprint_of(self, scenario: str) -> str:
        """Hash over everything that decides the vectors of one scenario's documents and queries."""
        ...

    def encode_queries(self, texts: Sequence[str], scenario: str = "qa") -> Vectors:
        """Unit rows, shape (n, dim)."""
        ...

    def encode_documents(
        self, texts: Sequence[str], scenario: str = "qa", *, show_progress: bool | None = None
    ) -> Vectors:
        """Unit rows, shape (n, dim)."""
        ...

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character span of every token of `text`, in order, special tokens left out."""
        ...


class PairScorer(Protocol):
    """What a second stage needs of a model that reads query and text together; `Reranker` is the one we ship."""

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """One number for each (query, text), shape (n,), higher for a better match."""
        ...


class Neighbours(NamedTuple):
    """Result of one query: row numbers and scores of equal length, best first."""

    numbers: Numbers
    scores: Vectors  # 1-D float32


class VectorIndex(Protocol):
    """Nearest neighbours by inner product over unit vectors known by row number.

    Numbers are given out by the store in growing order and never used again. Implementations must allow
    concurrent `search` from many threads, also while one thread adds or removes.
    """

    def numbers(self) -> Numbers:
        """The row numbers held, ascending, shape (n,)."""
        ...

    def add(self, numbers: Numbers, vectors: Vectors) -> None:
        """Take in `vectors` (n, dim) under `numbers` (n,): in any order, none of them held already."""
        ...

    def remove(self, numbers: Numbers) -> None:
        """Forget these rows; numbers that are not held are ignored."""
        ...

    def search(self, queries: Vectors, k: int, *, allowed: Numbers | None = None) -> list[Neighbours]:
        """The `k` best rows for each of `queries` (q, dim): fewer if fewer are held.

        `allowed` (ascending) restricts the rows *before* ranking. Ties are ordered by row number.
        """
        ...

    def save(self) -> None:
        """Write the cache, if this back-end keeps one on disk; a no-op otherwise."""
        ...

    def close(self) -> None:
        """Give back files, threads and connections. Does not save."""
        ...
