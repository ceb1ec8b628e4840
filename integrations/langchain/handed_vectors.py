"""Embeddings that hand out vectors made elsewhere, so that a vector store can be used without telling it any text."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from langchain_core.embeddings import Embeddings

from rag_embedder.errors import BackendError


class HandedVectors(Embeddings):
    """The embeddings a store gets: vectors that were made already, for names instead of texts.

    One table for both methods: a store that embeds its queries as documents is right too.
    """

    def __init__(self, dim: int) -> None:
        self._lock = threading.Lock()
        self._offered: dict[str, list[float]] = {}
        self._taken: set[str] = set()
        self._numbers = itertools.count()
        self._probe = [1.0] + [0.0] * (dim - 1)

    @contextmanager
    def offering(self, vectors: Mapping[str, Sequence[float]]) -> Iterator[None]:
        """Have these vectors at hand by name.

        Raises:
            BackendError: if at the end the store has not asked for each of them.
        """
        with self._lock:
            self._offered |= {name: list(vector) for name, vector in vectors.items()}
        try:
            yield
            with self._lock:
                ignored = len(vectors.keys() - self._taken)
            if ignored:
                raise BackendError(
                    f"the vector store did not take {ignored} of {len(vectors)} vectors from the embeddings that "
                    "open_store was given; expected all. Give it these embeddings, not others."
                )
        finally:
            with self._lock:
                for name in vectors:
                    self._offered.pop(name, None)
                    self._taken.discard(name)

    def query_name(self) -> str:
        """A name that no other search has."""
        return f"rag-embedder-query:{next(self._numbers)}"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of these names."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of this name; for anything else, as stores send to learn the dimension, a fixed unit vector."""
        with self._lock:
            vector = self._offered.get(text)
            if vector is not None:
                self._taken.add(text)
        return self._probe if vector is None else vector
