"""Ordering retrieved nodes anew: `BaseNodePostprocessor` for query and chat engines."""

from typing import Annotated, Any, Self

from llama_index.core import instrumentation
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, SkipValidation, model_validator

from integrations.model_loading import load_shared
from integrations.reranking import AnyScorer, check_scorer, rerank
from rag_embedder.errors import InputError
from rag_embedder.search import MAX_K

_DISPATCHER = instrumentation.get_dispatcher(__name__)  # pyright: ignore[reportPrivateImportUsage]
_KEPT = "retrieval_score"


class RagReranker(BaseNodePostprocessor):
    """Nodes in the order of an `Embedder` or a cross-encoder, each with its new score.

    The nodes given stay as they are. What is read of a node is the text that LlamaIndex embeds of it. Without nodes, or
    with an empty question, nothing comes back and nothing is computed. Async calls leave the event loop free.

    Raises:
        ValidationError: (a ValueError) for an unknown field or scenario, or a scorer that is none.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    scorer: Annotated[AnyScorer | None, SkipValidation] = Field(default=None, exclude=True, repr=False, frozen=True)
    """An `Embedder`, a `Reranker`, or an object whose `score(pairs)` or `predict(pairs)` gives a number for each
    (query, text) pair, such as sentence-transformers' `CrossEncoder`; None is the model that ships with rag_embedder.
    """
    scenario: str = Field(default="qa", frozen=True)
    """The instructions that an embedder uses."""
    k: int = Field(default=5, ge=1, le=MAX_K, strict=True, validation_alias=AliasChoices("k", "top_n"))
    """How many nodes at most; `top_n`, as LlamaIndex's own rerankers call it, is accepted too."""
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    """Only what scores at least this much, on the scorer's own scale."""
    keep_retrieval_score: bool = False
    """Whether the metadata of the nodes returned hold the score that came in, as "retrieval_score"."""

    _scorer: AnyScorer = PrivateAttr()

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "RagReranker"

    @model_validator(mode="after")
    def _take_scorer(self) -> Self:
        self._scorer = load_shared() if self.scorer is None else self.scorer
        check_scorer(self._scorer, self.scenario)
        return self

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("query_bundle: got None; expected the question, as query_bundle=... or query_str=...")
        if not nodes:
            return []
        question, model = query_bundle.query_str, str(getattr(self._scorer, "name", type(self._scorer).__name__))
        _DISPATCHER.event(ReRankStartEvent(query=question, nodes=nodes, top_n=self.k, model_name=model))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: model,
            EventPayload.QUERY_STR: question,
            EventPayload.TOP_K: self.k,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            ranked = self._rank(nodes, question)
            event.on_end(payload={EventPayload.NODES: ranked})
        _DISPATCHER.event(ReRankEndEvent(nodes=ranked))
        return ranked

    def _rank(self, nodes: list[NodeWithScore], question: str) -> list[NodeWithScore]:
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        ranked = rerank(question, texts, scorer=self._scorer, scenario=self.scenario, k=self.k)
        threshold = -float("inf") if self.score_threshold is None else self.score_threshold
        return [self._rescored(nodes[position], score) for position, score in ranked if score >= threshold]

    def _rescored(self, given: NodeWithScore, score: float) -> NodeWithScore:
        if not self.keep_retrieval_score:
            return NodeWithScore(node=given.node, score=score)
        node = given.node.model_copy(
            update={
                "metadata": {**given.node.metadata, _KEPT: given.score},
                "excluded_embed_metadata_keys": [*given.node.excluded_embed_metadata_keys, _KEPT],
                "excluded_llm_metadata_keys": [*given.node.excluded_llm_metadata_keys, _KEPT],
            }
        )
        return NodeWithScore(node=node, score=score)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.scorer is not None:
            raise TypeError(
                "RagReranker with a live scorer cannot be pickled: it may hold a model and locks. Make another one in "
                "the other process."
            )
        return type(self).from_dict, (self.to_dict(),)
