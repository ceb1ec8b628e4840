"""Our encoder as LangChain's `Embeddings`: one scenario per object, the role decided by the method."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.stores import BaseStore
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr, SkipValidation, model_validator

from integrations.cache_keys import vector_key
from integrations.model_loading import load_shared
from rag_embedder.encoder import OnTruncate, Preview
from rag_embedder.errors import ConfigError
from rag_embedder.protocols import TextEncoder
from rag_embedder.retrievers.base import in_thread
from rag_embedder.search import check_encoder
from rag_embedder.texts import check_text, check_texts

Role = Literal["query", "document"]


class RagEmbeddings(BaseModel, Embeddings):
    """Vectors for any LangChain vector store, with the scenario's instruction on each side.

    `embed_query` is the query side, `embed_documents` the document side; use one object per scenario. Objects that
    name the same model share it. Safe to use from many threads, and the async methods leave the event loop free.

    Vectors are unit length, so a store should be told to use cosine or inner product.

    Raises:
        ValidationError: (a ValueError) for an unknown field, scenario, device, dtype or instruction set.
        ModelLoadError: if the model cannot be loaded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), arbitrary_types_allowed=True)

    model: str | Path | None = Field(default=None, validation_alias=AliasChoices("model", "model_name"))
    """A model folder or hub id; None for the model that ships with rag_embedder. `model_name` is accepted too."""
    scenario: str = "qa"
    """Decides both instructions: "qa", "convsearch", "chat", "lrlm", "icl", "tool", or one of the model's own."""
    device: str = "auto"
    dtype: str = "auto"
    instructions: str | None = None
    """A named instruction set instead of the model's own, such as "none"."""
    on_truncate: OnTruncate | None = None
    """What a text longer than the model does: "warn" once, or "error"; None leaves it to the embedder."""
    embedder: Annotated[TextEncoder | None, SkipValidation] = Field(default=None, exclude=True, repr=False)
    """A live `Embedder` instead of `model`; such an object cannot be pickled."""
    cache: BaseStore[str, bytes] | None = Field(default=None, exclude=True, repr=False)
    """Where vectors are kept, as float32 bytes. Keys tell apart model, scenario, instruction and role, so one store
    may serve any number of objects."""

    _held: tuple[object, TextEncoder] | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _refuse_two_models(cls, given: Any) -> Any:  # noqa: ANN401  (whatever the caller passed)
        if not isinstance(given, Mapping):
            return given
        if "model" in given and "model_name" in given:
            raise ConfigError("model, model_name: got both; expected one of them. They are two names for one field.")
        if given.get("embedder") is not None:
            chosen = [
                name
                for name in ("model", "model_name", "device", "dtype", "instructions")
                if given.get(name) not in (None, cls.model_fields["model" if name == "model_name" else name].default)
            ]
            if chosen:
                raise ConfigError(
                    f"embedder, {', '.join(chosen)}: got both; expected either a live embedder or what to load."
                )
        return given

    @model_validator(mode="after")
    def _check_encoder(self) -> Self:
        check_encoder(self._encoder, self.scenario)
        return self

    # --- LangChain's interface

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of the texts as documents, in their order.

        Raises:
            InvalidTextError: for something that is not text, with its position.
        """
        return self._vectors(check_texts(texts), "document")

    def embed_query(self, text: str) -> list[float]:
        """The vector of the text as a query."""
        return self._vectors([check_text(text, field="text")], "query")[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` off the event loop."""
        return await in_thread(lambda: self.embed_documents(texts))

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` off the event loop; concurrent queries are encoded together."""
        return await in_thread(lambda: self.embed_query(text))

    # --- what is ours

    @property
    def dim(self) -> int:
        """Length of one vector, as LangGraph's `index={"dims": ...}` wants it."""
        return self._encoder.dim

    @property
    def fingerprint(self) -> str:
        """32 hex digits over weights, tokenizer and this scenario's instructions: equal means equal vectors."""
        return self._encoder.fingerprint_of(self.scenario)

    def preview(self, text: str, role: Role = "query") -> Preview:
        """The exact text that would be encoded, its length in tokens and whether its end would be cut."""
        encoder: Any = self._encoder
        return encoder.preview(text, self.scenario, role)

    @property
    def _encoder(self) -> TextEncoder:
        if self.embedder is not None:
            return self.embedder
        wanted = (self.model, self.device, self.dtype, self.instructions)
        if self._held is None or self._held[0] != wanted:
            model, device, dtype, instructions = wanted
            self._held = (wanted, load_shared(model, device=device, dtype=dtype, instructions=instructions))
        return self._held[1]

    def _encode(self, texts: Sequence[str], role: Role) -> np.ndarray[Any, np.dtype[np.float32]]:
        options = {} if self.on_truncate is None else {"on_truncate": self.on_truncate}
        encoder = self._encoder
        encode: Callable[..., Any] = encoder.encode_queries if role == "query" else encoder.encode_documents
        return encode(texts, self.scenario, **options)

    def _vectors(self, texts: list[str], role: Role) -> list[list[float]]:
        if self.cache is None or not texts:
            return self._encode(texts, role).tolist() if texts else []
        keys = [vector_key(self._encoder, text, scenario=self.scenario, role=role) for text in texts]
        wanted = dict(zip(keys, texts, strict=True))
        kept = dict(zip(wanted, self.cache.mget(list(wanted)), strict=True))
        found = {key: row for key, value in kept.items() if (row := self._row(value)) is not None}
        lacking = [key for key in wanted if key not in found]
        if lacking:
            fresh = self._encode([wanted[key] for key in lacking], role)
            rows = dict(zip(lacking, np.ascontiguousarray(fresh, "<f4"), strict=True))
            self.cache.mset([(key, row.tobytes()) for key, row in rows.items()])
            found |= rows
        return [found[key].tolist() for key in keys]

    def _row(self, value: object) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        """A kept vector, or None for what cannot be one: it is then made again and replaced."""
        if not isinstance(value, bytes | bytearray | memoryview) or len(bytes(value)) != 4 * self.dim:
            return None
        row = np.frombuffer(bytes(value), "<f4")
        return row if np.isfinite(row).all() else None

    # --- copies

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A new object with some fields changed and all of them checked; model and cache are shared, never copied."""
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **(update or {})})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return copy.copy(self)

    def __getstate__(self) -> dict[Any, Any]:
        if self.embedder is not None:
            raise TypeError(
                "RagEmbeddings with a live embedder cannot be pickled: it holds a model and locks. Make it with "
                "RagEmbeddings(model=...), which names what to load; that can."
            )
        # The model stays behind; it is loaded on first use in the other process.
        return {**super().__getstate__(), "__pydantic_private__": {"_held": None}}
