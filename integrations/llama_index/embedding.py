"""Our encoder as LlamaIndex's `BaseEmbedding`: one scenario per object, the role decided by the method."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.indices import VectorStoreIndex
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, SkipValidation, field_validator, model_validator

from integrations.cache_keys import vector_key
from integrations.llama_index.index_check import check_asking, check_vectors
from integrations.llama_index.vector_cache import RoleKeyedStore, asking_as_query
from integrations.model_loading import load_shared
from rag_embedder.encoder import Preview
from rag_embedder.errors import ConfigError, ModelLoadError, ModelMismatchError
from rag_embedder.protocols import TextEncoder
from rag_embedder.retrievers.base import in_thread
from rag_embedder.scenario import Role
from rag_embedder.search import check_encoder
from rag_embedder.texts import check_texts

_SHIPPED = "default"
_LOADING = ("model_name", "device", "dtype", "instructions")


class RagEmbedding(BaseEmbedding):
    """The embed model of an index, a pipeline or `Settings`, with the scenario's instruction on each side.

    Queries are encoded as queries and node texts as documents. What decides the vectors is a field that cannot be
    changed afterwards, so that `IngestionPipeline` caches, `to_dict` and pickles notice another model. Objects that
    name the same model share it; from many threads and tasks at once too.

    LlamaIndex puts a node's metadata before its text; see `EmbedTextOnly` to embed the text alone.

    Raises:
        ValidationError: (a ValueError) for an unknown field, scenario, device, dtype or instruction set.
        ModelLoadError: if the model cannot be loaded.
        ModelMismatchError: if a `fingerprint` is given and the model that was loaded has another one.
    """

    model_config = ConfigDict(
        extra="forbid", populate_by_name=True, protected_namespaces=("pydantic_model_",), arbitrary_types_allowed=True
    )

    model_name: str = Field(default=_SHIPPED, frozen=True, validation_alias=AliasChoices("model_name", "model"))
    """A model folder or hub id, or "default" for the model that ships with rag_embedder. `model=` is accepted too."""
    scenario: str = Field(default="qa", frozen=True)
    """Decides both instructions: "qa", "convsearch", "chat", "lrlm", "icl", "tool", or one of the model's own."""
    device: str = Field(default="auto", frozen=True)
    dtype: str = Field(default="auto", frozen=True)
    instructions: str | None = Field(default=None, frozen=True)
    """A named instruction set instead of the model's own, such as "none"."""
    fingerprint: str = Field(default="", frozen=True)
    """32 hex digits over the weights and this scenario's instructions; filled in, or checked if it is given."""
    embed_batch_size: int = Field(default=64, gt=0, le=2048)
    embeddings_cache: Any | None = Field(default=None, exclude=True, repr=False, frozen=True)
    """A LlamaIndex key-value store. Keys tell apart model, scenario, instruction and role, so one store may serve any
    number of objects; it is not part of `to_dict` and stays behind when the object is pickled."""
    embedder: Annotated[TextEncoder | None, SkipValidation] = Field(default=None, exclude=True, repr=False, frozen=True)
    """A live `Embedder` instead of a model to load. `from_dict(data, embedder=...)` restores such an object."""

    _encoder: TextEncoder = PrivateAttr()

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "RagEmbedding"

    @model_validator(mode="before")
    @classmethod
    def _refuse_two_models(cls, given: Any) -> Any:  # noqa: ANN401  (whatever the caller passed)
        if isinstance(given, Mapping) and "model" in given and "model_name" in given:
            raise ConfigError("model, model_name: got both; expected one of them. They are two names for one field.")
        return given

    @field_validator("model_name", mode="before")
    @classmethod
    def _name_as_text(cls, name: Any) -> Any:  # noqa: ANN401  (whatever the caller passed)
        if name is None:
            return _SHIPPED
        return str(name) if isinstance(name, Path) else name

    @model_validator(mode="after")
    def _take_encoder(self) -> Self:
        self._encoder = self._load() if self.embedder is None else self._check_live(self.embedder)
        check_encoder(self._encoder, self.scenario)
        found = self._encoder.fingerprint_of(self.scenario)
        if self.fingerprint not in ("", found):
            raise ModelMismatchError(
                f"fingerprint: got {self.fingerprint[:12]}, but scenario {self.scenario!r} of {self._encoder.name!r} "
                f"has {found[:12]}; expected the model and instructions the vectors were made with. Load those, or "
                "leave the fingerprint out and embed everything again."
            )
        # Written past the guard of frozen fields: they are complete only now.
        object.__setattr__(self, "fingerprint", found)
        object.__setattr__(self, "model_name", self.model_name if self.embedder is None else self._encoder.name)
        if self.embeddings_cache is not None and not isinstance(self.embeddings_cache, RoleKeyedStore):
            object.__setattr__(self, "embeddings_cache", RoleKeyedStore(self.embeddings_cache, self._cache_key))
        return self

    # --- LlamaIndex's interface

    def get_query_embedding(self, query: str) -> list[float]:
        """The unit vector of a text as a query."""
        with asking_as_query():
            return super().get_query_embedding(query)

    async def aget_query_embedding(self, query: str) -> list[float]:
        """`get_query_embedding` off the event loop; concurrent queries are encoded together."""
        with asking_as_query():
            return await super().aget_query_embedding(query)

    def get_text_embedding_batch(
        self,
        texts: list[str],
        show_progress: bool = False,
        **kwargs: Any,  # noqa: ANN401  (the framework's signature)
    ) -> list[list[float]]:
        """The unit vectors of texts as documents, in batches of `embed_batch_size`.

        Raises:
            InvalidTextError: for a bare str, whose letters would be the texts, or anything else that is no list of str.
        """
        return super().get_text_embedding_batch(check_texts(texts), show_progress, **kwargs)

    async def aget_text_embedding_batch(
        self,
        texts: list[str],
        show_progress: bool = False,
        **kwargs: Any,  # noqa: ANN401  (the framework's signature)
    ) -> list[list[float]]:
        """`get_text_embedding_batch` off the event loop, the batches at the same time."""
        return await super().aget_text_embedding_batch(check_texts(texts), show_progress, **kwargs)

    def get_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., list[float]] | None = None
    ) -> list[float]:
        """One vector of several queries: their mean, or what `agg_fn` makes of them."""
        return super().get_agg_embedding_from_queries(check_texts(queries, field="queries"), agg_fn)

    async def aget_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., list[float]] | None = None
    ) -> list[float]:
        """`get_agg_embedding_from_queries` off the event loop."""
        return await super().aget_agg_embedding_from_queries(check_texts(queries, field="queries"), agg_fn)

    def to_payload(self) -> dict[str, Any]:
        """What tracing sees of this object; it holds no secrets."""
        return {**super().to_payload(), "scenario": self.scenario, "fingerprint": self.fingerprint}

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._encode([query], "query")[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await in_thread(lambda: self._get_query_embedding(query))

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._encode([text], "document")[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await in_thread(lambda: self._get_text_embedding(text))

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._encode(texts, "document")

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await in_thread(lambda: self._get_text_embeddings(texts))

    # --- what is ours

    def preview(self, text: str, role: Role = "query") -> Preview:
        """The exact text that would be encoded, its length in tokens and whether its end would be cut."""
        encoder: Any = self._encoder
        return encoder.preview(text, self.scenario, role)

    def check_index(self, index: VectorStoreIndex) -> None:
        """Raise ModelMismatchError if an index that was opened again holds vectors that are not this object's.

        Also if it asks with another model or scenario, as it does when it was opened without `embed_model=`. LlamaIndex
        does not keep which model made an index, and takes any with as many dimensions. See `check_vectors`.

        Raises:
            InputError: for what is no VectorStoreIndex.
        """
        check_vectors(index, self)
        check_asking(index, self)

    def _load(self) -> TextEncoder:
        model = None if self.model_name == _SHIPPED else self.model_name
        try:
            return load_shared(model, device=self.device, dtype=self.dtype, instructions=self.instructions)
        except ModelLoadError as fault:
            if not self.fingerprint:
                raise
            hint = "If the object was made with a live embedder, pass it again: from_dict(data, embedder=...)."
            raise type(fault)(f"{fault} {hint}") from fault

    def _check_live(self, embedder: TextEncoder) -> TextEncoder:
        check_encoder(embedder, self.scenario)
        given = {name: getattr(self, name) for name in _LOADING}
        expected = {name: type(self).model_fields[name].default for name in _LOADING}
        both = [name for name in _LOADING if given[name] not in (expected[name], getattr(embedder, "name", None))]
        if both:
            raise ConfigError(
                f"embedder, {', '.join(both)}: got both; expected either a live embedder or what to load."
            )
        return embedder

    def _encode(self, texts: Sequence[str], role: Role) -> list[list[float]]:
        if not texts:
            return []
        if role == "query":
            return self._encoder.encode_queries(texts, self.scenario).tolist()
        # LlamaIndex has a progress bar of its own.
        return self._encoder.encode_documents(texts, self.scenario, show_progress=False).tolist()

    def _cache_key(self, text: str, role: Role) -> str:
        return vector_key(self._encoder, text, scenario=self.scenario, role=role)

    # --- copies

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A new object with some fields changed and all of them checked; model and cache are shared, never copied."""
        if not update:
            return copy.copy(self)
        left_out = {"fingerprint"} if self.embedder is None else {"fingerprint", "model_name"}
        kept = {name: getattr(self, name) for name in type(self).model_fields if name not in left_out}
        if isinstance(self.embeddings_cache, RoleKeyedStore):
            kept["embeddings_cache"] = self.embeddings_cache.store
        return type(self)(**{**kept, **update})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return copy.copy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.embedder is not None:
            raise TypeError(
                "RagEmbedding with a live embedder cannot be pickled: it holds a model and locks. Make it with "
                "RagEmbedding(model_name=...), which names what to load; that can."
            )
        return type(self).from_dict, (self.to_dict(),)
