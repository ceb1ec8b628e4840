"""BM25 indexes that follow a store: one per scope, built when first asked for and when items have changed."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag_embedder.lexical import BM25Index
from rag_embedder.store import Store
from rag_embedder.types import Numbers

_SCOPES = 64
"""How many scopes keep their index; the one used longest ago goes first."""


@dataclass(frozen=True, slots=True)
class _Built:
    """BM25 over the items `numbers` (n,) of one scope, right at the store's `clock`."""

    clock: int
    numbers: Numbers
    index: BM25Index


class LexicalCache:
    """BM25 over all items of one kind, or over those of one scope.

    Each scope has an index of its own: word statistics of one user's memories must not show in another's scores.

    Args:
        store: where the items are.
        kind: the family of items.
        words: the text of an item's payload.
    """

    def __init__(self, store: Store, kind: str, words: Callable[[Mapping[str, Any]], str]) -> None:
        self._store = store
        self._kind = kind
        self._words = words
        self._built: OrderedDict[str | None, _Built] = OrderedDict()
        self._lock = threading.Lock()

    def index(self, scope: str | None) -> BM25Index:
        """The index of one scope, or of all items, as they are now."""
        with self._lock:
            clock = self._store.clock()
            built = self._built.get(scope)
            if built is None or built.clock != clock:
                built = self._build(scope, clock, built)
                self._built[scope] = built
                if len(self._built) > _SCOPES:
                    self._built.popitem(last=False)
            self._built.move_to_end(scope)
            return built.index

    def _build(self, scope: str | None, clock: int, before: _Built | None) -> _Built:
        # Items never change under their number: as long as the numbers are the same, so are the texts.
        if before is not None and np.array_equal(before.numbers, self._store.select(self._kind, scope=scope)):
            return _Built(clock, before.numbers, before.index)
        items = list(self._store.iter_items(self._kind, scope=scope))
        numbers = np.array([item.n for item in items], dtype=np.int64)
        return _Built(clock, numbers, BM25Index(numbers, [self._words(item.payload) for item in items]))
