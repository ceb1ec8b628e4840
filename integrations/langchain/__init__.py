"""LangChain adapters: subclasses of its own base classes, sync and async. Imported on first use.

All need the extra `langchain`; the two middlewares need `langchain-agents`.
"""

from typing import TYPE_CHECKING

from rag_embedder.lazy_names import lazy_names

if TYPE_CHECKING:
    from integrations.langchain.bigtool import make_retrieve_tools as make_retrieve_tools
    from integrations.langchain.conversation import ConversationalRagRetriever as ConversationalRagRetriever
    from integrations.langchain.embeddings import RagEmbeddings as RagEmbeddings
    from integrations.langchain.example_selector import RagExampleSelector as RagExampleSelector
    from integrations.langchain.memory import RagMemoryMiddleware as RagMemoryMiddleware
    from integrations.langchain.reranker import RagReranker as RagReranker
    from integrations.langchain.retriever import RagRetriever as RagRetriever
    from integrations.langchain.stores import role_aware as role_aware
    from integrations.langchain.stores import store_index as store_index
    from integrations.langchain.tool_selection.middleware import RagToolSelectorMiddleware as RagToolSelectorMiddleware
    from integrations.langchain.vector_store_index import VectorStoreIndexSettings as VectorStoreIndexSettings

_PUBLIC = {
    "ConversationalRagRetriever": "integrations.langchain.conversation:ConversationalRagRetriever",
    "RagEmbeddings": "integrations.langchain.embeddings:RagEmbeddings",
    "RagExampleSelector": "integrations.langchain.example_selector:RagExampleSelector",
    "RagMemoryMiddleware": "integrations.langchain.memory:RagMemoryMiddleware",
    "RagReranker": "integrations.langchain.reranker:RagReranker",
    "RagRetriever": "integrations.langchain.retriever:RagRetriever",
    "RagToolSelectorMiddleware": "integrations.langchain.tool_selection.middleware:RagToolSelectorMiddleware",
    "VectorStoreIndexSettings": "integrations.langchain.vector_store_index:VectorStoreIndexSettings",
    "make_retrieve_tools": "integrations.langchain.bigtool:make_retrieve_tools",
    "role_aware": "integrations.langchain.stores:role_aware",
    "store_index": "integrations.langchain.stores:store_index",
}

_EXTRAS = {"langchain_core": "langchain", "langchain": "langchain-agents", "langgraph": "langchain-agents"}

__all__ = sorted(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _PUBLIC, extras=_EXTRAS)


def __dir__() -> list[str]:
    return list(__all__)
