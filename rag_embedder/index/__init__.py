"""Vectors to neighbours. A back-end is one file and one line here; all give the answers of `flat`."""

from rag_embedder.errors import ConfigError
from rag_embedder.index.place import IndexPlace, IndexSettings
from rag_embedder.registry import Registry

INDEXES = Registry(
    "index",
    {
        "flat": "rag_embedder.index.flat:FlatSettings",
        "faiss": "rag_embedder.index.faiss:FaissSettings",
        "chroma": "rag_embedder.index.chroma:ChromaSettings",
    },
)
"""Settings class of each back-end by name."""


def resolve_index(choice: str | IndexSettings) -> IndexSettings:
    """Settings for a name (with defaults), or settings as they are.

    Raises:
        ConfigError: if the name is unknown or the object has no `open`.
        MissingExtraError: if the back-end's package is not installed.
    """
    if isinstance(choice, str):
        return INDEXES[choice]()
    if not callable(getattr(choice, "open", None)):
        raise ConfigError(
            f"index: got {type(choice).__name__}; expected one of {', '.join(INDEXES)}, or settings such as "
            "FaissSettings()."
        )
    return choice


__all__ = ["INDEXES", "IndexPlace", "IndexSettings", "resolve_index"]
