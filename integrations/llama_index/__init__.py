"""LlamaIndex adapters: subclasses of its own base classes, sync and truly async. Imported on first use.

All need the extra `llama-index`.
"""

from typing import TYPE_CHECKING

from rag_embedder.lazy_names import lazy_names

if TYPE_CHECKING:
    from integrations.llama_index.conversation import RagConversationRetriever as RagConversationRetriever
    from integrations.llama_index.embedding import RagEmbedding as RagEmbedding
    from integrations.llama_index.memory import RagMemoryBlock as RagMemoryBlock
    from integrations.llama_index.nodes import EmbedTextOnly as EmbedTextOnly
    from integrations.llama_index.reranker import RagReranker as RagReranker
    from integrations.llama_index.retriever import RagRetriever as RagRetriever
    from integrations.llama_index.tools import RagToolRetriever as RagToolRetriever

_PUBLIC = {
    "EmbedTextOnly": "integrations.llama_index.nodes:EmbedTextOnly",
    "RagConversationRetriever": "integrations.llama_index.conversation:RagConversationRetriever",
    "RagEmbedding": "integrations.llama_index.embedding:RagEmbedding",
    "RagMemoryBlock": "integrations.llama_index.memory:RagMemoryBlock",
    "RagReranker": "integrations.llama_index.reranker:RagReranker",
    "RagRetriever": "integrations.llama_index.retriever:RagRetriever",
    "RagToolRetriever": "integrations.llama_index.tools:RagToolRetriever",
}

__all__ = sorted(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _PUBLIC, extras={"llama_index": "llama-index"})


def __dir__() -> list[str]:
    return list(__all__)
