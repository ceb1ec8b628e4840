"""A second, better look at what a retriever found, as LangChain's `BaseDocumentCompressor`."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from pydantic import AliasChoices, ConfigDict, Field, SkipValidation, model_validator

from integrations.reranking import AnyScorer, arerank, check_scorer, rerank
from rag_embedder.errors import ConfigError, InvalidTextError
from rag_embedder.protocols import TextEncoder
from rag_embedder.search import MAX_K


class RagReranker(BaseDocumentCompressor):
    """Documents in a new order, best first, each with its `rerank_score` in the metadata; `score` stays what it was.

    `RagReranker(embedder=...)` scores by the cosine for `scenario`; `RagReranker(scorer=...)` by a model that reads
    query and text together: our `Reranker`, LangChain's `BaseCrossEncoder`, or sentence-transformers' `CrossEncoder`.
    `reranker.after(retriever)` is both steps as one runnable.

    The documents given are not changed. No documents, or an empty query, give none.

    Raises:
        ValidationError: (a ValueError) for an unknown field or scenario, or unless exactly one of both is given.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    embedder: Annotated[TextEncoder | None, SkipValidation] = Field(default=None, repr=False)
    scorer: Annotated[AnyScorer | None, SkipValidation] = Field(default=None, repr=False)
    scenario: str = "qa"
    """Decides both instructions; for an embedder only."""
    k: int | None = Field(default=None, ge=1, le=MAX_K, strict=True, validation_alias=AliasChoices("k", "top_n"))
    """How many documents are left at most; None for all. `top_n` is accepted too."""
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    """Only what scores at least this much, on the scale of the embedder or scorer."""
    score_key: str = Field(default="rerank_score", min_length=1)
    """The metadata key of the new score."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.embedder is None) == (self.scorer is None):
            came = "neither" if self.embedder is None else "both"
            raise ConfigError(f"embedder, scorer: got {came}; expected one of them.")
        if self.embedder is not None and not callable(getattr(self.embedder, "encode_queries", None)):
            raise ConfigError(f"embedder: got {type(self.embedder).__name__}; expected an Embedder.")
        check_scorer(self._scorer, self.scenario)
        return self

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The documents that stay, best first; equal scores stay in the order given.

        Raises:
            InputError: for a query that is no text, or scores that are not one finite number for each document.
        """
        texts = _texts(documents)
        ranked = rerank(query, texts, scorer=self._scorer, scenario=self.scenario, k=self.k)
        return self._chosen(documents, ranked)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """`compress_documents` off the event loop."""
        texts = _texts(documents)
        ranked = await arerank(query, texts, scorer=self._scorer, scenario=self.scenario, k=self.k)
        return self._chosen(documents, ranked)

    def after(self, retriever: Runnable[str, list[Document]]) -> Runnable[str, list[Document]]:
        """A runnable that asks the retriever and reranks what it found; give that a larger `k` than this one."""

        def both(query: str, config: RunnableConfig) -> list[Document]:
            return self.compress_documents(retriever.invoke(query, config), query)

        async def aboth(query: str, config: RunnableConfig) -> list[Document]:
            return await self.acompress_documents(await retriever.ainvoke(query, config), query)

        return RunnableLambda(both, aboth, name="RagReranker")

    @property
    def _scorer(self) -> Any:  # noqa: ANN401  (checked at construction)
        return self.scorer if self.embedder is None else self.embedder

    def _chosen(self, documents: Sequence[Document], ranked: Sequence[tuple[int, float]]) -> list[Document]:
        least = self.score_threshold
        return [
            documents[position].model_copy(update={"metadata": {**documents[position].metadata, self.score_key: score}})
            for position, score in ranked
            if least is None or score >= least
        ]


def _texts(documents: Sequence[Document]) -> list[str]:
    for position, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InvalidTextError(
                f"documents[{position}]: got {type(document).__name__}; expected a LangChain Document."
            )
    return [document.page_content for document in documents]
