"""Which components can be audited, and by what: lines of text, so that listing them imports no framework."""

import sys
from pkgutil import resolve_name
from typing import NamedTuple

from integrations.audit.inside import objects_inside
from integrations.audit.probe import Probe
from rag_embedder.errors import ConfigError


class Kind(NamedTuple):
    """Instances of the class `base` ("module:Class") are audited with the `Probe` subclass `probe`."""

    name: str
    base: str
    probe: str


_HERE = "integrations.audit"

KINDS = (
    Kind(
        "KnowledgeRetriever, ConversationRetriever",
        "rag_embedder.retrievers.passages:PassageStore",
        f"{_HERE}.own:PassageProbe",
    ),
    Kind("MemoryRetriever", "rag_embedder.retrievers.memory:MemoryRetriever", f"{_HERE}.own:MemoryProbe"),
    Kind(
        "DemonstrationRetriever",
        "rag_embedder.retrievers.demonstrations:DemonstrationRetriever",
        f"{_HERE}.own:DemonstrationProbe",
    ),
    Kind("ToolRetriever", "rag_embedder.retrievers.tools:ToolRetriever", f"{_HERE}.own:ToolProbe"),
    Kind(
        "LangChain Embeddings", "langchain_core.embeddings.embeddings:Embeddings", f"{_HERE}.langchain:EmbeddingsProbe"
    ),
    Kind(
        "LangChain VectorStore", "langchain_core.vectorstores.base:VectorStore", f"{_HERE}.langchain:VectorStoreProbe"
    ),
    Kind("LangChain BaseRetriever", "langchain_core.retrievers:BaseRetriever", f"{_HERE}.langchain:RetrieverProbe"),
    Kind(
        "LangChain BaseExampleSelector",
        "langchain_core.example_selectors.base:BaseExampleSelector",
        f"{_HERE}.langchain:ExampleSelectorProbe",
    ),
    Kind(
        "LangChain BaseDocumentCompressor",
        "langchain_core.documents.compressor:BaseDocumentCompressor",
        f"{_HERE}.langchain:CompressorProbe",
    ),
    Kind("LangGraph BaseStore", "langgraph.store.base:BaseStore", f"{_HERE}.langgraph:StoreProbe"),
    Kind(
        "RagToolSelectorMiddleware",
        "integrations.langchain.tool_selection.middleware:RagToolSelectorMiddleware",
        f"{_HERE}.agents:ToolSelectorProbe",
    ),
    Kind(
        "RagMemoryMiddleware",
        "integrations.langchain.memory:RagMemoryMiddleware",
        f"{_HERE}.agents:MemoryMiddlewareProbe",
    ),
    Kind(
        "LlamaIndex BaseEmbedding",
        "llama_index.core.base.embeddings.base:BaseEmbedding",
        f"{_HERE}.llama_index:EmbeddingProbe",
    ),
    Kind(
        "LlamaIndex VectorStoreIndex",
        "llama_index.core.indices.vector_store.base:VectorStoreIndex",
        f"{_HERE}.llama_index:IndexProbe",
    ),
    Kind(
        "LlamaIndex BaseRetriever",
        "llama_index.core.base.base_retriever:BaseRetriever",
        f"{_HERE}.llama_index:RetrieverProbe",
    ),
    Kind(
        "LlamaIndex ObjectRetriever",
        "llama_index.core.objects.base:ObjectRetriever",
        f"{_HERE}.llama_index:ObjectRetrieverProbe",
    ),
    Kind(
        "LlamaIndex BaseNodePostprocessor",
        "llama_index.core.postprocessor.types:BaseNodePostprocessor",
        f"{_HERE}.llama_index:PostprocessorProbe",
    ),
    Kind("RagMemoryBlock", "integrations.llama_index.memory:RagMemoryBlock", f"{_HERE}.llama_index:MemoryBlockProbe"),
    Kind(
        "LlamaIndex IngestionPipeline",
        "llama_index.core.ingestion.pipeline:IngestionPipeline",
        f"{_HERE}.llama_index:PipelineProbe",
    ),
)


_ENCODER_PROBE = f"{_HERE}.own:EncoderProbe"


def find_probe(component: object, tag: str) -> Probe | None:
    """The probe for a component; None for what cannot be audited."""
    probe = _probe_class(component)
    return None if probe is None else resolve_name(probe)(component, tag)


def probe_for(component: object, tag: str) -> Probe:
    """The probe for a component.

    Raises:
        ConfigError: for what cannot be audited; it names what is inside and can be, or lists what can.
    """
    probe = find_probe(component, tag)
    if probe is None:
        got = f"the class {component.__name__}" if isinstance(component, type) else type(component).__name__
        parts = _names_inside(component)
        if parts:
            raise ConfigError(
                f"component: got {got}, which is made of parts; expected the part to be audited, such as the "
                f"retriever. Found in it: {', '.join(parts)}. Call this with each of them."
            )
        known = ["Embedder (or any TextEncoder)", *(kind.name for kind in KINDS)]
        raise ConfigError(f"component: got {got}; expected an object of one of: {', '.join(known)}.")
    return probe


def _probe_class(component: object) -> str | None:
    for kind in KINDS:
        module, _, name = kind.base.partition(":")
        # Whoever made an instance has imported its class; what is not imported is never looked for.
        base = getattr(sys.modules.get(module), name, None)
        if base is not None and isinstance(component, base):
            return kind.probe
    is_encoder = all(callable(getattr(type(component), name, None)) for name in ("encode_queries", "encode_documents"))
    return _ENCODER_PROBE if is_encoder else None


def _names_inside(component: object) -> list[str]:
    """Classes of the components that this one, such as a chain or an agent, is made of; not of their own parts."""
    if isinstance(component, type):
        return []
    names: list[str] = []
    within = set[int]()
    for part in objects_inside(component):
        if id(part) in within or _probe_class(part) is None:
            continue
        names.append(type(part).__name__)
        within |= {id(inner) for inner in objects_inside(part)}
    return list(dict.fromkeys(names))
