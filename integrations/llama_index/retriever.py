"""Any of our retrievers as LlamaIndex's `BaseRetriever`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from integrations.asking import Retriever, above, check_retriever, check_user, options_for
from integrations.llama_index.filters import filter_of
from integrations.llama_index.nodes import documents_of, nodes_of
from integrations.model_loading import load_shared
from rag_embedder.encoder import Embedder
from rag_embedder.errors import InputError
from rag_embedder.index import IndexSettings
from rag_embedder.retrievers.knowledge import KnowledgeRetriever
from rag_embedder.retrievers.memory import MemoryRetriever
from rag_embedder.search import Mode, check_k, check_mode

AnyRetriever = Retriever | MemoryRetriever
Filters = MetadataFilters | Mapping[str, Any]


class RagRetriever(BaseRetriever):
    """Hits of one of our retrievers as nodes with scores, for query engines, fusion, evaluation and agents.

    It asks with the words of a query bundle, never with an embedding that another retriever left in it, and leaves the
    bundle as it is. An empty query finds nothing. One object serves one user and one set of options; more of them cost
    nothing, as they share the retriever. It holds an open store: `retriever.close()` closes it.

    Args:
        retriever: a `KnowledgeRetriever`, `MemoryRetriever`, `DemonstrationRetriever`, `ToolRetriever` or
            `ConversationRetriever`.
        k: how many nodes at most (LlamaIndex's `similarity_top_k`).
        filters: only what has such metadata: LlamaIndex's `MetadataFilters`, or a dict as {"year": {"gte": 2020}};
            applied before ranking.
        score_threshold: only what scores at least this much: a cosine in dense mode.
        user: whose memories; required for a `MemoryRetriever`, refused by the others.
        session: only the memories of this one.
        mode: "dense", "lexical" or "hybrid"; None leaves it to the retriever.
        options: further options of the retriever's own `retrieve`, by name, such as {"recency": 0.3}.
        callback_manager: LlamaIndex's.

    Raises:
        ConfigError: for what is no retriever, or an unknown mode.
        InputError: for an option that this retriever does not have, a `k` out of range, a threshold that is no number.
        FilterError: for filters that cannot be understood.
        UserRequiredError: for a memory without its user.
    """

    def __init__(
        self,
        retriever: AnyRetriever,
        *,
        k: int = 5,
        filters: Filters | None = None,
        score_threshold: float | None = None,
        user: str | None = None,
        session: str | None = None,
        mode: Mode | None = None,
        options: Mapping[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        check_retriever(retriever)
        check_k(k)
        check_threshold(score_threshold)
        if mode is not None:
            check_mode(mode)
        self.retriever = retriever
        self.k = k
        self.score_threshold = score_threshold
        named = {"filter": filter_of(filters), "user": user, "session": session, "mode": mode}
        if twice := [name for name in options or {} if name in ("k", *named)]:
            raise InputError(f"options: got {', '.join(map(repr, twice))}; expected only what has no argument here.")
        self._options = options_for(retriever, **named, **(options or {}))
        check_user(retriever, self._options)
        super().__init__(callback_manager=callback_manager)

    @classmethod
    def from_nodes(
        cls,
        nodes: Iterable[BaseNode | NodeWithScore],
        embedder: Embedder | None = None,
        *,
        path: str | Path | None = None,
        index: str | IndexSettings = "faiss",
        mode: Mode = "dense",
        k: int = 5,
        title_key: str | None = None,
        chunk_tokens: int | None = None,
    ) -> Self:
        """Index LlamaIndex nodes or documents in a store of ours and retrieve from it.

        Nodes whose id is in the store at `path` replace what it held; unchanged ones are not encoded again. The text is
        encoded without metadata. The store that is opened is `.retriever`: close it with `.retriever.close()`.

        Args:
            nodes: what a reader or splitter gave.
            embedder: the encoder; None for the model that ships with rag_embedder.
            path: folder of a durable store, opened or created; None keeps all in memory.
            index: "faiss", "flat", "chroma", or the settings object of one of them.
            mode: "dense", "lexical" or "hybrid".
            k: how many nodes a query finds at most.
            title_key: the metadata key whose text is encoded before the node's.
            chunk_tokens: split nodes longer than this many tokens.
        """
        documents = documents_of(nodes, title_key=title_key)
        encoder = load_shared() if embedder is None else embedder
        opened = KnowledgeRetriever(encoder, path=path, index=index, mode=mode, chunk_tokens=chunk_tokens)
        try:
            opened.add(documents)
            return cls(opened, k=k)
        except BaseException:
            opened.close()
            raise

    def find(self, asked: Any) -> list[NodeWithScore]:  # noqa: ANN401  (text or dialogue)
        """Nodes for what the retriever is asked with, under this object's options."""
        return nodes_of(above(self.retriever.retrieve(asked, self.k, **self._options), self.score_threshold))

    async def afind(self, asked: Any) -> list[NodeWithScore]:  # noqa: ANN401
        """`find` off the event loop; concurrent queries are encoded together."""
        return nodes_of(above(await self.retriever.aretrieve(asked, self.k, **self._options), self.score_threshold))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.find(query_of(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await self.afind(query_of(query_bundle))


def query_of(query_bundle: QueryBundle) -> str:
    """The text to ask with: what a query transformation put in the question's place, or else the question.

    Raises:
        InputError: for several texts, whose mean vector LlamaIndex would search with, or for an image.
    """
    if query_bundle.image_path is not None:
        raise InputError("query_bundle.image_path: got an image; expected a text, which is what this retriever reads.")
    texts = query_bundle.custom_embedding_strs
    if not texts:
        return query_bundle.query_str
    if len(texts) > 1:
        raise InputError(
            f"query_bundle.custom_embedding_strs: got {len(texts)} texts; expected one. With HyDEQueryTransform, say "
            "include_original=False; several queries are for QueryFusionRetriever."
        )
    return texts[0]


def check_threshold(score_threshold: object) -> None:
    """Raise InputError unless it is None or a number other than NaN."""
    is_number = isinstance(score_threshold, int | float) and not isinstance(score_threshold, bool)
    if score_threshold is not None and (not is_number or score_threshold != score_threshold):
        raise InputError(f"score_threshold: got {score_threshold!r}; expected None or a number.")
