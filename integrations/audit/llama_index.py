"""How LlamaIndex's components are audited."""

from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from integrations.audit.probe import Probe, ReadingProbe, why_no_roles
from rag_embedder.retrievers.base import in_thread

_CACHE_ADVICE = "Leave embeddings_cache out, or use RagEmbedding(embeddings_cache=...), whose keys tell roles apart."


class EmbeddingProbe(Probe):
    """`BaseEmbedding`, one text and several; nothing is kept, so nothing is removed."""

    kind = "LlamaIndex embedding"
    role_advice = "_get_query_embedding has to use the query instruction, _aget_query_embedding too; RagEmbedding does."
    cache_advice = _CACHE_ADVICE

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.get_query_embedding(text)
        self.component.get_agg_embedding_from_queries([text])

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.aget_query_embedding(text)
        await self.component.aget_agg_embedding_from_queries([text])

    def write(self, text: str) -> None:  # noqa: D102
        self.component.get_text_embedding(text)
        self.component.get_text_embedding_batch([text])

    async def awrite(self, text: str) -> None:  # noqa: D102
        await self.component.aget_text_embedding(text)
        await self.component.aget_text_embedding_batch([text])


class IndexProbe(Probe):
    """`VectorStoreIndex` over any vector store: nodes of one document of our own, which is deleted afterwards."""

    kind = "LlamaIndex index"
    role_advice = "Give the index an embed_model that tells the two roles apart, such as RagEmbedding."
    cache_advice = _CACHE_ADVICE

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self._has_written = False

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.as_retriever(similarity_top_k=1).retrieve(text)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.as_retriever(similarity_top_k=1).aretrieve(text)

    def write(self, text: str) -> None:  # noqa: D102
        self._has_written = True
        self.component.insert_nodes([self._node(text)])

    async def awrite(self, text: str) -> None:  # noqa: D102
        self._has_written = True
        await self.component.ainsert_nodes([self._node(text)])

    def remove(self) -> None:  # noqa: D102
        if self._has_written:
            self.component.delete_ref_doc(self.tag, delete_from_docstore=True)

    def _node(self, text: str) -> TextNode:
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=self.tag)}
        return TextNode(text=text, id_=self.new_id(), relationships=source)


class RetrieverProbe(ReadingProbe):
    """`BaseRetriever`; nodes go to the index, or the retriever of ours, that it reads."""

    kind = "LlamaIndex retriever"
    role_advice = IndexProbe.role_advice
    cache_advice = _CACHE_ADVICE

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self.use_store("retriever", "index", "_index")

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.retrieve(text)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.aretrieve(text)


class ObjectRetrieverProbe(Probe):
    """`ObjectRetriever`. Only one of ours can be written to: elsewhere a node without its object breaks `retrieve`."""

    kind = "LlamaIndex object retriever"
    role_advice = IndexProbe.role_advice
    cache_advice = _CACHE_ADVICE

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self._names: list[str] = []

    def why_not_write(self) -> str:  # noqa: D102
        has_both = all(callable(getattr(self.component, name, None)) for name in ("add", "delete"))
        return "" if has_both else "it only reads, and objects cannot be removed from its index"

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.retrieve(text)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.aretrieve(text)

    def write(self, text: str) -> None:  # noqa: D102
        def tool() -> None:
            pass

        tool.__name__, tool.__doc__ = self.new_id(), text
        self._names.append(tool.__name__)
        self.component.add([tool])

    async def awrite(self, text: str) -> None:  # noqa: D102
        await in_thread(lambda: self.write(text))

    def remove(self) -> None:  # noqa: D102
        if self._names:
            self.component.delete(self._names)
            self._names.clear()


class PostprocessorProbe(Probe):
    """`BaseNodePostprocessor`: one call has both roles, so the other text is one that nobody looks for."""

    kind = "LlamaIndex reranker"

    def why_not_ask(self) -> str:  # noqa: D102
        return why_no_roles(getattr(self.component, "scorer", None))

    def why_not_write(self) -> str:  # noqa: D102
        return self.why_not_ask()

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.postprocess_nodes([_found("some text")], query_str=text)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.apostprocess_nodes([_found("some text")], query_str=text)

    def write(self, text: str) -> None:  # noqa: D102
        self.component.postprocess_nodes([_found(text)], query_str="some question")

    async def awrite(self, text: str) -> None:  # noqa: D102
        await self.component.apostprocess_nodes([_found(text)], query_str="some question")


class MemoryBlockProbe(Probe):
    """`RagMemoryBlock`, which has async methods only: a copy for a user whom nobody else has, over the same memory."""

    kind = "LlamaIndex memory block"
    has_two_scenarios = True

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self._block = component.model_copy(update={"user": tag})

    def ask(self, text: str) -> None:  # noqa: D102
        raise NotImplementedError("memory blocks have async methods only")

    async def aask(self, text: str) -> None:  # noqa: D102
        await self._block.aget(messages=[ChatMessage(role="user", content=text)], session_id=self.tag)

    def write(self, text: str) -> None:  # noqa: D102
        self.ask(text)

    async def awrite(self, text: str) -> None:  # noqa: D102
        await self._block.aput([ChatMessage(role="user", content=text)], session_id=self.tag)

    def remove(self) -> None:  # noqa: D102
        self._block.retriever.forget(self.tag)


class PipelineProbe(Probe):
    """`IngestionPipeline`: its embedding steps alone, on a node of their own.

    Its other steps may call language models, and its stores and cache would keep the node.
    """

    kind = "LlamaIndex pipeline"
    role_advice = "Give it an embedding that tells the two roles apart, such as RagEmbedding."
    cache_advice = _CACHE_ADVICE

    def why_not_ask(self) -> str:  # noqa: D102
        return "a pipeline takes in documents only"

    def why_not_write(self) -> str:  # noqa: D102
        return "" if self._embeddings() else "none of its transformations is an embedding"

    def write(self, text: str) -> None:  # noqa: D102
        for embedding in self._embeddings():
            embedding([TextNode(text=text)])

    async def awrite(self, text: str) -> None:  # noqa: D102
        for embedding in self._embeddings():
            await embedding.acall([TextNode(text=text)])

    def _embeddings(self) -> list[Any]:
        return [step for step in self.component.transformations if hasattr(step, "get_text_embedding_batch")]


def _found(text: str) -> NodeWithScore:
    return NodeWithScore(node=TextNode(text=text), score=0.0)
