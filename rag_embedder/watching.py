"""Seeing what is really encoded: which text, in which role, for which scenario."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rag_embedder.scenario import Role

_LOCK = threading.Lock()
_WATCHES: "list[list[Encoding]]" = []


@dataclass(frozen=True, slots=True)
class Encoding:
    """One call of an `Embedder`: its texts, without instruction, and what they were encoded as."""

    texts: tuple[str, ...]
    scenario: str
    role: Role


@contextmanager
def watch_encodings() -> Iterator[list[Encoding]]:
    """Collect every call of every `Embedder` in this process, from all threads, while the block runs.

    For tests and audits: whether a framework's store sends its queries to the query side can be seen, not believed.
    """
    seen: list[Encoding] = []
    with _LOCK:
        _WATCHES.append(seen)
    try:
        yield seen
    finally:
        with _LOCK:
            _WATCHES[:] = [watch for watch in _WATCHES if watch is not seen]


def tell_watches(texts: Sequence[str], scenario: str, role: Role) -> None:
    """Note one call in every watch that is running."""
    if not _WATCHES:
        return
    encoding = Encoding(tuple(texts), scenario, role)
    with _LOCK:
        for watch in _WATCHES:
            watch.append(encoding)
