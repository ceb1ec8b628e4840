"""Tools found for a request, as LlamaIndex nodes."""

import logging
from collections.abc import Collection

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from integrations.asking import above
from integrations.llama_index.live_tools import LiveTools, nothing_to_run
from integrations.llama_index.nodes import node_of
from integrations.llama_index.retriever import query_of
from rag_embedder.retrievers.base import in_thread
from rag_embedder.retrievers.entries import is_blank
from rag_embedder.retrievers.tools import ToolRetriever
from rag_embedder.search import MAX_K, Mode
from rag_embedder.tool_schema.recognise import MAX_NAME_LENGTH
from rag_embedder.types import Hit, Tool

ALWAYS = "always_offered"
"""Metadata key of nodes that no postprocessor can remove: pinned tools, and the one that was asked for by name."""

_LOG = logging.getLogger(__name__)


class ToolNodes(BaseRetriever):
    """The tools for a request as nodes: the one of that very name, the best, then the pinned ones.

    Args:
        registry: where the tools are; what it holds at the moment of a request counts.
        live: the objects behind them.
        k: how many besides the pinned ones.
        exclude: names that are not offered.
        mode: overrides the registry's.
        score_threshold: leaves out what scores less; tools that are pinned or asked for by name are exempt.
    """

    def __init__(
        self,
        registry: ToolRetriever,
        live: LiveTools,
        *,
        k: int,
        exclude: Collection[str],
        mode: Mode | None,
        score_threshold: float | None,
    ) -> None:
        self._registry = registry
        self._live = live
        self._k = k
        self._exclude = frozenset(exclude)
        self._mode: Mode | None = mode
        self._score_threshold = score_threshold
        self._told: set[str] = set()
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._find(query_of(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await in_thread(lambda: self._find(query_of(query_bundle)))

    def _find(self, request: str) -> list[NodeWithScore]:
        best, pinned = self._ranked(request)
        named = self._named(request, best)
        chosen = [*named, *(hit for hit in best if hit not in named)][: self._k]
        always = {hit.id for hit in (*named, *pinned)}
        offered = [*chosen, *(hit for hit in pinned if hit not in chosen)]
        return [_node(hit, is_always=hit.id in always) for hit in offered]

    def _ranked(self, request: str) -> tuple[list[Hit[Tool]], list[Hit[Tool]]]:
        """The `k` best that can be run, best first, and the pinned ones with their scores for this request."""
        depth = min(self._k + len(self._exclude), MAX_K)
        while True:
            ranked, names = self._registry.retrieve_batch([request, ""], depth, mode=self._mode)
            always = {hit.id for hit in names} - self._exclude
            lost = [hit.id for hit in ranked if self._live.runnable(hit.item) is None and hit.id not in self._exclude]
            if unpinned := always & set(lost):
                raise nothing_to_run(sorted(unpinned))
            usable = [hit for hit in ranked if hit.id not in self._exclude and hit.id not in lost]
            near = [hit for hit in usable if hit.rank <= depth]  # without pinned tools that come after the best
            best = above(near, self._score_threshold)[: self._k]
            # Deeper, until tools that are not offered leave no place empty; the rest would score even less.
            is_enough = len(best) == self._k or len(best) < len(near) or is_blank(request)
            if is_enough or depth >= min(len(self._registry), MAX_K):
                break
            depth = min(4 * depth, MAX_K)
        if lost and not usable and not self._has_live():
            raise nothing_to_run(lost)
        self._tell(lost)
        return best, [hit for hit in usable if hit.id in always]

    def _named(self, request: str, best: list[Hit[Tool]]) -> list[Hit[Tool]]:
        # An agent looks up the tool that its model called by asking for the tool's name, and runs it only if it comes.
        if is_blank(request) or len(request) > MAX_NAME_LENGTH or request in self._exclude:
            return []
        ranked = {hit.id: hit for hit in best}
        live = [tool for tool in self._registry.get([request]) if self._live.runnable(tool) is not None]
        return [ranked.get(tool.name) or Hit(item=tool, id=tool.name, score=1.0, rank=1) for tool in live]

    def _has_live(self) -> bool:
        # Any request ranks all tools in dense mode; the others find only those that share a word with it.
        everything = self._registry.retrieve("tool", min(len(self._registry), MAX_K), mode="dense")
        return any(self._live.runnable(hit.item) is not None for hit in everything)

    def _tell(self, lost: list[str]) -> None:
        new = [name for name in lost if name not in self._told]
        self._told.update(new)
        if new:
            _LOG.warning("tools %s are stored but were not added in this process; they are not offered", new)


def _node(hit: Hit[Tool], *, is_always: bool) -> NodeWithScore:
    found = node_of(hit)
    if is_always and isinstance(found.node, TextNode):
        found.node.metadata[ALWAYS] = True
        found.node.excluded_embed_metadata_keys.append(ALWAYS)
        found.node.excluded_llm_metadata_keys.append(ALWAYS)
    return found
