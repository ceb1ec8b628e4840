"""LangGraph stores that send search queries to the query side of an embedding model, and items to the document side.

`SqliteStore`, `AsyncSqliteStore`, `PostgresStore` and `AsyncPostgresStore` embed queries with `embed_documents`
(https://github.com/langchain-ai/langgraph/issues/9007), which ranks wrongly with any model that has instructions.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from inspect import Parameter, isclass, signature
from typing import Any, TypeVar, cast

from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, IndexConfig, Op, Result, SearchOp, ensure_embeddings
from langgraph.store.memory import InMemoryStore

from rag_embedder.errors import ConfigError, VectorError

StoreT = TypeVar("StoreT", bound=BaseStore)


class StoreIndex(IndexConfig, total=False):
    """LangGraph's `index=`, with the fields under the name that each of its stores reads."""

    text_fields: list[str] | None


def store_index(embeddings: Embeddings, *, fields: Sequence[str]) -> StoreIndex:
    """The `index=` of a LangGraph store: `dims` taken from the model, and the fields of an item that are embedded.

    `fields` is required: without it, stores embed the JSON text of the whole item, braces and all. The in-memory store
    reads them under "fields", the database stores under "text_fields" (and silently ignore "fields"); both are given.

    Raises:
        ConfigError: for what is no `Embeddings` object, and for fields that are no list of names.
    """
    _check_embeddings(embeddings, "embeddings")
    if isinstance(fields, str) or not fields or not all(isinstance(field, str) and field for field in fields):
        raise ConfigError(f"fields: got {fields!r}; expected a list of field names, such as ['text'].")
    dims = getattr(embeddings, "dim", None)
    dims = dims if isinstance(dims, int) else len(embeddings.embed_query("dimension"))
    return {"dims": dims, "embed": embeddings, "fields": list(fields), "text_fields": list(fields)}


def role_aware(store_class: type[StoreT]) -> type[StoreT]:
    """A subclass of a LangGraph store whose searches reach `embed_query`, sync and async; use it in the class's place.

    It takes the same arguments and gives the same results for the same vectors: a batch stays one batch, in which
    LangGraph's stores read before they write. What it adds:

    - Search queries go to `embed_query`, items to `embed_documents`, whichever of the two the store calls.
    - `index["fields"]` and `index["text_fields"]` mean the same; a database store ignores the first without it.
    - Vectors are counted and their length compared with `index["dims"]`.
    - In an `InMemoryStore`, one batch may hold one text several times.

    Items that a plain store has written need not be written again, unless it was told "fields" and ignored them.

    Raises:
        ConfigError: for what is no store class with an `index=` option; when making a store, for an `index["embed"]`
            that is a bare function, because it cannot tell a query from a document.
    """
    if not isclass(store_class) or not issubclass(store_class, BaseStore):
        got = store_class.__name__ if isclass(store_class) else type(store_class).__name__
        raise ConfigError(f"store_class: got {got}; expected a subclass of langgraph.store.base.BaseStore.")
    if issubclass(store_class, _RoleAware):
        return cast("type[StoreT]", store_class)
    options = signature(store_class.__init__).parameters.values()
    if not any(option.name == "index" or option.kind is Parameter.VAR_KEYWORD for option in options):
        raise ConfigError(f"store_class: {store_class.__name__} has no option `index`; expected one that embeds.")
    return cast("type[StoreT]", _subclass(store_class))


@cache
def _subclass(store_class: type[BaseStore]) -> type[BaseStore]:
    mixin = _OneTextTwice if issubclass(store_class, InMemoryStore) else _RoleAware
    contents = {"__doc__": store_class.__doc__, "__module__": store_class.__module__}
    return cast("type[BaseStore]", type(f"RoleAware{store_class.__name__}", (mixin, store_class), contents))


class _QueryText(str):
    """A search query on its way through a store. It tells itself apart, so it may pass through threads and tasks."""

    __slots__ = ()


class _RoleAware(BaseStore):
    def __init__(self, *args: Any, index: Mapping[str, Any] | None = None, **options: Any) -> None:  # noqa: ANN401
        if index:
            options["index"] = _role_safe(index)
        super().__init__(*args, **options)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        return super().batch(_marked(ops))  # pyright: ignore[reportAbstractUsage]  (the store's own comes next)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        # Async database stores search from a background task, which calls this too.
        return await super().abatch(_marked(ops))  # pyright: ignore[reportAbstractUsage]


class _OneTextTwice(_RoleAware):
    def _insertinmem_store(
        self, to_embed: Mapping[str, Sequence[tuple[tuple[str, ...], str, str]]], embeddings: Sequence[list[float]]
    ) -> None:
        # The store embeds a text once but expects a vector for each place it stands at; it gets them one by one.
        insert = super()._insertinmem_store  # pyright: ignore[reportAttributeAccessIssue]
        for (text, places), vector in zip(to_embed.items(), embeddings, strict=True):
            for place in places:
                insert({text: [place]}, [vector])


class _RoleSwitch(Embeddings):
    """Embeds marked queries as queries, wherever they arrive, and everything else as the store asks."""

    def __init__(self, embeddings: Embeddings, dims: int | None) -> None:
        self.embeddings = embeddings
        self._dims = dims

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        queries, documents = _by_role(texts)
        asked = [self.embeddings.embed_query(query) for query in queries]
        written = self.embeddings.embed_documents(documents) if documents else []
        return self._in_order(texts, asked, written)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        queries, documents = _by_role(texts)
        asked = await asyncio.gather(*(self.embeddings.aembed_query(query) for query in queries))
        written = await self.embeddings.aembed_documents(documents) if documents else []
        return self._in_order(texts, asked, written)

    def embed_query(self, text: str) -> list[float]:
        return self._in_order([_QueryText(text)], [self.embeddings.embed_query(str(text))], [])[0]

    async def aembed_query(self, text: str) -> list[float]:
        return self._in_order([_QueryText(text)], [await self.embeddings.aembed_query(str(text))], [])[0]

    def _in_order(
        self, texts: Sequence[str], asked: Sequence[list[float]], written: Sequence[list[float]]
    ) -> list[list[float]]:
        if len(asked) + len(written) != len(texts):
            raise VectorError(f"got {len(asked) + len(written)} vectors for {len(texts)} texts; expected one for each.")
        queries, documents = iter(asked), iter(written)
        vectors = [next(queries) if isinstance(text, _QueryText) else next(documents) for text in texts]
        lengths = {len(vector) for vector in vectors} - {self._dims}
        if self._dims is not None and lengths:
            raise VectorError(
                f"got vectors of length {min(lengths)}; expected {self._dims}, which is index['dims']. "
                "store_index(embeddings, fields=...) takes it from the model."
            )
        return vectors


def _role_safe(index: Mapping[str, Any]) -> dict[str, Any]:
    # A copy, so that the caller's configuration can be given to another store.
    safe = dict(index)
    fields = safe.get("fields") or safe.get("text_fields")
    for name in ("fields", "text_fields"):
        safe[name] = safe.get(name) or fields
    embed = safe.get("embed")
    if isinstance(embed, str):
        embed = ensure_embeddings(embed)
    if embed is not None and not isinstance(embed, _RoleSwitch):
        _check_embeddings(embed, "index['embed']")
        safe["embed"] = _RoleSwitch(embed, safe.get("dims"))
    return safe


def _check_embeddings(embeddings: object, field: str) -> None:
    if not isinstance(embeddings, Embeddings):
        raise ConfigError(
            f"{field}: got {type(embeddings).__name__}; expected a LangChain Embeddings object. A function embeds "
            "queries and documents alike."
        )


def _by_role(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    queries: list[str] = []
    documents: list[str] = []
    for text in texts:
        (queries if isinstance(text, _QueryText) else documents).append(str(text))
    return queries, documents


def _marked(ops: Iterable[Op]) -> list[Op]:
    return [
        op._replace(query=_QueryText(op.query)) if isinstance(op, SearchOp) and isinstance(op.query, str) else op
        for op in ops
    ]
