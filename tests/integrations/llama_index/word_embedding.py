"""What LlamaIndex's own classes are given in tests: the fast encoder as an embed model, and a store in a list."""

from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.vector_stores import VectorStoreQueryResult
from llama_index.core.vector_stores.types import BasePydanticVectorStore
from pydantic import PrivateAttr

from tests.retriever_cases import Watched, WordEncoder


class WordEmbedding(BaseEmbedding):
    """The obvious adapter of an encoder, as LlamaIndex's own index would use it."""

    seconds: float = 0.0

    def _get_query_embedding(self, query):
        encoder = Watched(WordEncoder())
        encoder.seconds = self.seconds
        return encoder.encode_queries([query], "tool")[0].tolist()

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text):
        return WordEncoder().encode_documents([text], "tool")[0].tolist()


class ListStore(BasePydanticVectorStore):
    """A vector store that keeps texts and understands metadata filters, as `VectorMemoryBlock` asks for."""

    stores_text: bool = True
    _nodes: list = PrivateAttr(default_factory=list)

    @property
    def client(self):
        return None

    def add(self, nodes, **kwargs):
        self._nodes.extend(nodes)
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id, **kwargs):
        raise NotImplementedError

    def query(self, query, **kwargs):
        wanted = {one.key: one.value for one in query.filters.filters} if query.filters else {}
        nodes = [node for node in self._nodes if all(node.metadata.get(key) == wanted[key] for key in wanted)]
        scored = [
            (sum(a * b for a, b in zip(node.embedding, query.query_embedding, strict=True)), node) for node in nodes
        ]
        best = sorted(scored, key=lambda pair: -pair[0])[: query.similarity_top_k]
        return VectorStoreQueryResult([node for _, node in best], [score for score, _ in best], [])
