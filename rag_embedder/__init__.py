"""One encoder for every retrieval an LLM agent does. Names are imported on first use, so importing this is cheap."""

from typing import TYPE_CHECKING

from rag_embedder.lazy_names import lazy_names

if TYPE_CHECKING:
    from rag_embedder.encoder import Embedder as Embedder
    from rag_embedder.errors import RagEmbedderError as RagEmbedderError
    from rag_embedder.reranker.reranker import Reranker as Reranker
    from rag_embedder.retrievers.conversation import ConversationRetriever as ConversationRetriever
    from rag_embedder.retrievers.demonstrations import DemonstrationRetriever as DemonstrationRetriever
    from rag_embedder.retrievers.knowledge import KnowledgeRetriever as KnowledgeRetriever
    from rag_embedder.retrievers.memory import MemoryRetriever as MemoryRetriever
    from rag_embedder.retrievers.tools import ToolRetriever as ToolRetriever
    from rag_embedder.scenario import Scenario as Scenario
    from rag_embedder.types import Chunk as Chunk
    from rag_embedder.types import Demonstration as Demonstration
    from rag_embedder.types import Document as Document
    from rag_embedder.types import Exchange as Exchange
    from rag_embedder.types import Hit as Hit
    from rag_embedder.types import Tool as Tool
    from rag_embedder.types import Turn as Turn
    from rag_embedder.watching import watch_encodings as watch_encodings

__version__ = "0.1.0"

_PUBLIC = {
    "Chunk": "rag_embedder.types:Chunk",
    "ConversationRetriever": "rag_embedder.retrievers.conversation:ConversationRetriever",
    "Demonstration": "rag_embedder.types:Demonstration",
    "DemonstrationRetriever": "rag_embedder.retrievers.demonstrations:DemonstrationRetriever",
    "Document": "rag_embedder.types:Document",
    "Embedder": "rag_embedder.encoder:Embedder",
    "Exchange": "rag_embedder.types:Exchange",
    "Hit": "rag_embedder.types:Hit",
    "KnowledgeRetriever": "rag_embedder.retrievers.knowledge:KnowledgeRetriever",
    "MemoryRetriever": "rag_embedder.retrievers.memory:MemoryRetriever",
    "RagEmbedderError": "rag_embedder.errors:RagEmbedderError",
    "Reranker": "rag_embedder.reranker.reranker:Reranker",
    "Scenario": "rag_embedder.scenario:Scenario",
    "Tool": "rag_embedder.types:Tool",
    "ToolRetriever": "rag_embedder.retrievers.tools:ToolRetriever",
    "Turn": "rag_embedder.types:Turn",
    "watch_encodings": "rag_embedder.watching:watch_encodings",
}

__all__ = sorted([*_PUBLIC, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return list(__all__)
