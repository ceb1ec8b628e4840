"""The methods by which encoders and embedding objects are known, with the role that each stands for."""

from collections.abc import Mapping
from dataclasses import dataclass

from integrations.audit.inside import has_method
from rag_embedder.scenario import Role


@dataclass(frozen=True, slots=True)
class Asked:
    """A method of an embedding object that was called."""

    owner: str
    method: str
    role: Role
    """What the method stands for."""

    @property
    def name(self) -> str:
        """Class and method, as they are written."""
        return f"{self.owner}.{self.method}"


_FAMILIES: tuple[Mapping[str, Role], ...] = (
    # rag_embedder.protocols.TextEncoder
    {"encode_queries": "query", "encode_documents": "document"},
    # langchain_core.embeddings.Embeddings
    {
        "embed_query": "query",
        "aembed_query": "query",
        "embed_documents": "document",
        "aembed_documents": "document",
    },
    # llama_index.core.base.embeddings.base.BaseEmbedding; what has an underscore is below its cache
    {
        "get_query_embedding": "query",
        "aget_query_embedding": "query",
        "_get_query_embedding": "query",
        "_aget_query_embedding": "query",
        "get_text_embedding": "document",
        "aget_text_embedding": "document",
        "get_text_embedding_batch": "document",
        "aget_text_embedding_batch": "document",
        "_get_text_embedding": "document",
        "_aget_text_embedding": "document",
        "_get_text_embeddings": "document",
        "_aget_text_embeddings": "document",
    },
)

_WRITERS = {
    "langchain": ("mset", "amset"),
    "llama_index": ("put", "aput"),
}


def role_methods(candidate: object) -> dict[str, Role]:
    """The methods of an embedding object that encode, with their roles; none for any other object."""
    found: dict[str, Role] = {}
    for family in _FAMILIES:
        methods: dict[str, Role] = {name: role for name, role in family.items() if has_method(candidate, name)}
        if set(methods.values()) == {"query", "document"}:
            found |= methods
    return found


def writing_methods(candidate: object) -> tuple[str, ...]:
    """The methods by which a key-value store of either framework is written; none for any other object."""
    if all(has_method(candidate, name) for name in ("mset", "mdelete", "yield_keys")):
        return _WRITERS["langchain"]
    if all(has_method(candidate, name) for name in ("put", "delete", "get_all")):
        return _WRITERS["llama_index"]
    return ()
