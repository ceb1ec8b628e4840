"""LlamaIndex's `embeddings_cache`, made safe: the same text as a query and as a document are two entries.

LlamaIndex keys its cache by the raw text alone, so that whoever asks first decides which vector everybody gets
(https://github.com/run-llama/llama_index/pull/23181).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseKVStore

from rag_embedder.scenario import Role

_ROLE: ContextVar[Role] = ContextVar("rag_embedder_role", default="document")


@contextmanager
def asking_as_query() -> Iterator[None]:
    """Within the block, this thread or task looks vectors up as those of queries; outside it, of documents."""
    token = _ROLE.set("query")
    try:
        yield
    finally:
        _ROLE.reset(token)


class RoleKeyedStore(BaseKVStore):
    """A key-value store seen through keys that tell roles apart; the caller's `store` holds the entries."""

    def __init__(self, store: BaseKVStore, key_of: Callable[[str, Role], str]) -> None:
        self.store = store
        self._key_of = key_of

    def _key(self, text: str) -> str:
        return self._key_of(text, _ROLE.get())

    def put(self, key: str, val: dict, collection: str = DEFAULT_COLLECTION) -> None:
        """Keep the vector of the text `key`."""
        self.store.put(self._key(key), val, collection)

    async def aput(self, key: str, val: dict, collection: str = DEFAULT_COLLECTION) -> None:
        """Keep the vector of the text `key`."""
        await self.store.aput(self._key(key), val, collection)

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict | None:
        """The vector of the text `key`, if it is kept."""
        return self.store.get(self._key(key), collection)

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict | None:
        """The vector of the text `key`, if it is kept."""
        return await self.store.aget(self._key(key), collection)

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict]:
        """Everything in the store, by its own keys."""
        return self.store.get_all(collection)

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict]:
        """Everything in the store, by its own keys."""
        return await self.store.aget_all(collection)

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Forget the vector of the text `key`; returns whether it was there."""
        return self.store.delete(self._key(key), collection)

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Forget the vector of the text `key`; returns whether it was there."""
        return await self.store.adelete(self._key(key), collection)
