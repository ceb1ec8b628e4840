"""Any of our retrievers as LangChain's `BaseRetriever`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangChainDocument
from langchain_core.prompts import BasePromptTemplate
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.tools import BaseTool, create_retriever_tool
from pydantic import ConfigDict, Field, SkipValidation, model_validator

from integrations.asking import Retriever, above, check_retriever, check_user, options_for
from integrations.langchain.documents import from_hits, to_documents
from integrations.model_loading import load_shared
from rag_embedder.encoder import Embedder
from rag_embedder.errors import InputError, InvalidTextError
from rag_embedder.index import IndexSettings
from rag_embedder.retrievers.conversation import ConversationRetriever
from rag_embedder.retrievers.knowledge import KnowledgeRetriever
from rag_embedder.retrievers.memory import MemoryRetriever
from rag_embedder.search import MAX_K, Mode

AnyRetriever = Retriever | MemoryRetriever


class RagRetriever(BaseRetriever):
    """Hits of one of our retrievers as LangChain documents, each with its score in the metadata.

    `invoke(query, k=3, filter=..., score_threshold=...)` overrides what was given here, for one call; so does every
    option that the retriever's own `retrieve` has, such as `recency` for memories. An option that it does not have is
    refused, here and there; None means "as given here". An empty query finds nothing.

    It holds an open store and cannot be pickled; `retriever.close()` closes the store.

    Raises:
        ValidationError: (a ValueError) for an unknown field, or an option that this retriever does not have.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    retriever: Annotated[AnyRetriever, SkipValidation]
    """Any of the five: knowledge, memory, demonstrations, tools, conversation."""
    k: int = Field(default=4, ge=1, le=MAX_K, strict=True)
    """How many documents at most."""
    filter: Mapping[str, Any] | None = None
    """Only what has such metadata, as {"year": {"gte": 2020}}; applied before ranking."""
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    """Only what scores at least this much: a cosine in dense mode."""
    user: str | None = None
    """Whose memories are searched; required by a `MemoryRetriever`, here or in the call."""
    session: str | None = None
    mode: Mode | None = None
    """"dense", "lexical" or "hybrid"; None leaves it to the retriever."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """Further options of the retriever's own `retrieve`, by name."""
    score_key: str = Field(default="score", min_length=1)
    """The metadata key of the score."""

    _opens: ClassVar[type[KnowledgeRetriever | ConversationRetriever]] = KnowledgeRetriever

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_retriever(self.retriever)
        self._options_for({})
        return self

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[LangChainDocument],
        embedder: Embedder | None = None,
        *,
        path: str | Path | None = None,
        index: str | IndexSettings = "faiss",
        mode: Mode = "dense",
        k: int = 4,
        title_key: str | None = None,
        chunk_tokens: int | None = None,
    ) -> Self:
        """Index LangChain documents and retrieve from them.

        Documents with an id replace those with the same id in the store at `path`; unchanged ones are not encoded
        again. The store that is opened is `.retriever`: close it with `.retriever.close()`.

        Args:
            documents: what a loader or text splitter gave.
            embedder: the encoder; None for the model that ships with rag_embedder.
            path: folder of a durable store, opened or created; None keeps all in memory.
            index: "faiss", "flat", "chroma", or settings such as `VectorStoreIndexSettings(...)`.
            mode: "dense", "lexical" or "hybrid".
            k: how many documents a call returns at most.
            title_key: the metadata key whose text is encoded before the content.
            chunk_tokens: split documents longer than this many tokens.
        """
        converted = to_documents(documents, title_key=title_key)
        encoder = load_shared() if embedder is None else embedder
        opened = cls._opens(encoder, path=path, index=index, mode=mode, chunk_tokens=chunk_tokens)
        try:
            opened.add(converted)
            return cls(retriever=opened, k=k)
        except BaseException:
            opened.close()
            raise

    def as_agent_tool(
        self,
        name: str,
        description: str,
        *,
        document_prompt: BasePromptTemplate[str] | None = None,
        document_separator: str = "\n\n",
    ) -> BaseTool:
        """A tool with one argument, `query`, for an agent: the model reads the texts, the artifact holds the documents.

        Args:
            name: the tool's name, unique in the agent.
            description: when to use it, for the model.
            document_prompt: how one document is written; its text alone by default.
            document_separator: what stands between two documents.
        """
        return create_retriever_tool(
            self,
            name,
            description,
            document_prompt=document_prompt,
            document_separator=document_separator,
            response_format="content_and_artifact",
        )

    # The parameters must be declared: LangChain drops the options of a call unless the method has some.
    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        score_threshold: float | None = None,
        verbose: bool = False,  # LangChain's own, for its callbacks
        **options: Any,  # noqa: ANN401
    ) -> list[LangChainDocument]:
        options = self._options_for(options)
        check_user(self.retriever, options)
        retriever: Any = self.retriever
        hits = retriever.retrieve(_check_query(query), self.k if k is None else k, **options)
        return from_hits(above(hits, self._threshold(score_threshold)), score_key=self.score_key)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        score_threshold: float | None = None,
        verbose: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> list[LangChainDocument]:
        options = self._options_for(options)
        check_user(self.retriever, options)
        retriever: Any = self.retriever
        hits = await retriever.aretrieve(_check_query(query), self.k if k is None else k, **options)
        return from_hits(above(hits, self._threshold(score_threshold)), score_key=self.score_key)

    def _options_for(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options for `retrieve`: those of the call where they are not None, else those of this object."""
        own = {"filter": self.filter, "user": self.user, "session": self.session, "mode": self.mode, **self.options}
        chosen = {**own, **{name: value for name, value in given.items() if value is not None or name not in own}}
        return options_for(self.retriever, ("score_threshold",), **chosen)

    def _threshold(self, given: float | None) -> float | None:
        if given is None:
            return self.score_threshold
        if isinstance(given, bool) or not isinstance(given, int | float) or given != given:
            raise InputError(f"score_threshold: got {given!r}; expected a number.")
        return given

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:  # noqa: ANN401
        params = super()._get_ls_params(**kwargs)
        encoder = getattr(self.retriever, "_embedder", None)
        if encoder is not None:
            scenario = getattr(self.retriever, "_scenario", None)
            params["ls_embedding_provider"] = "rag_embedder"
            params["ls_embedding_model"] = f"{encoder.name}:{scenario}" if scenario else encoder.name
        return params


def _check_query(query: object) -> str:
    # LangChain types the input as str but passes on whatever stands before the retriever in a chain.
    if not isinstance(query, str):
        raise InvalidTextError(
            f"query: got {type(query).__name__}; expected str. For messages, an agent's state or a chat history use "
            "ConversationalRagRetriever; out of a dict pick the text first: itemgetter('question') | retriever."
        )
    return query
