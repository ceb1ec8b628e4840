"""The few tools, out of many, that an agent's request needs: for `FunctionAgent(tool_retriever=...)`."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llama_index.core.objects import ObjectRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import BaseTool

from integrations.llama_index.live_tools import LiveTools
from integrations.llama_index.retriever import check_threshold, query_of
from integrations.llama_index.tool_nodes import ALWAYS, ToolNodes
from integrations.model_loading import load_shared
from rag_embedder.encoder import Embedder
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.retrievers.entries import check_list, is_blank
from rag_embedder.retrievers.tools import ToolRetriever
from rag_embedder.search import Mode, check_k, check_mode
from rag_embedder.texts import check_texts
from rag_embedder.types import Tool

AnyTool = BaseTool | Callable[..., Any] | Tool
"""A LlamaIndex tool, a Python callable, or a `Tool` of ours whose `original` is one of them."""


class RagToolRetriever(ObjectRetriever[BaseTool]):
    """LlamaIndex's `ObjectRetriever` over a `ToolRetriever`: `FunctionAgent(tool_retriever=RagToolRetriever(tools))`.

    A request gets the objects that were added, best first, then the pinned ones; every name once. Callables are made
    into `FunctionTool`s, as an agent does it. An empty request gets the pinned tools. A request that is a tool's exact
    name gets that tool first: agents ask so before they run a tool, and would else not find it.

    Choosing tools is no permission system: a model may name any tool of the registry, and the agent then runs it.

    Only descriptions and vectors are stored under `path`; add the objects in every process (unchanged ones are not
    encoded again). Stored tools that were not added are left out, and the next best take their places.

    Args:
        tools: LlamaIndex tools and Python callables, or `Tool`s of ours with such an `original`, where the description
            should be another; more can be added and taken away at any time.
        embedder: the encoder; None for the model that ships with rag_embedder.
        retriever: an open `ToolRetriever` to use and share, instead of `embedder`, `path` and `pinned`.
        k: how many tools besides the pinned ones (LlamaIndex's `similarity_top_k`).
        pinned: names of tools that every request gets.
        exclude: names of tools that are never offered: those in the agent's own `tools`, which it puts before the
            retrieved ones without looking for duplicates.
        mode: "dense", "lexical" or "hybrid"; None leaves it to the retriever ("dense" by default).
        path: folder of a durable store, opened or created; None keeps all in memory.
        score_threshold: leaves out tools that score less: a cosine in dense mode. Pinned ones stay.
        node_postprocessors: LlamaIndex's, such as rerankers; what they remove is not offered, but pinned tools stay.

    Raises:
        ConfigError: for arguments that exclude each other, or an unknown mode.
        InputError: for a tool that cannot be run, such as a function schema.
        DuplicateIdError: if two of the tools have one name.
    """

    def __init__(
        self,
        tools: Iterable[AnyTool] | None = None,
        embedder: Embedder | None = None,
        *,
        retriever: ToolRetriever | None = None,
        k: int = 5,
        pinned: Sequence[str] = (),
        exclude: Sequence[str] = (),
        mode: Mode | None = None,
        path: str | Path | None = None,
        score_threshold: float | None = None,
        node_postprocessors: list[BaseNodePostprocessor] | None = None,
    ) -> None:
        check_k(k)
        check_threshold(score_threshold)
        if mode is not None:
            check_mode(mode)
        hidden = check_texts(exclude, field="exclude")
        if both := sorted({*hidden} & {*check_texts(pinned, field="pinned")}):
            raise ConfigError(f"pinned, exclude: got {both} in both; expected every name in one of them.")
        _check_shared(retriever, embedder=embedder, path=path, pinned=pinned)
        self._is_owner = retriever is None
        if retriever is None:
            retriever = ToolRetriever(load_shared() if embedder is None else embedder, path=path, pinned=pinned)
        self._registry = retriever
        self._live = LiveTools(self._registry)
        found = ToolNodes(self._registry, self._live, k=k, exclude=hidden, mode=mode, score_threshold=score_threshold)
        super().__init__(found, self._live, node_postprocessors)
        try:
            if tools is not None:
                self.add(tools)
        except BaseException:
            self.close()
            raise

    @property
    def registry(self) -> ToolRetriever:
        """The tools: what is added or deleted there shows at the next request."""
        return self._registry

    def add(self, tools: Iterable[AnyTool]) -> list[str]:
        """Add tools, or replace those of the same name; returns their names, in order. All or none.

        Raises:
            InputError: for an object that is no tool or cannot be run, with its position.
            DuplicateIdError: if two tools of the call have one name.
        """
        check_list(tools, field="tools", expected="tools")
        return self._registry.add(self._live.prepared(tools))

    def delete(self, names: Iterable[str]) -> int:
        """Take tools away by name; returns how many were there."""
        return self._registry.delete(names)

    def retrieve(self, str_or_query_bundle: str | QueryBundle) -> list[BaseTool]:
        """The tools for a request.

        Raises:
            InputError: for what is no request, if a pinned tool has not been added, or if tools are stored but none of
                them was added in this process.
        """
        bundle = _bundle(str_or_query_bundle)
        found = self._retriever.retrieve(bundle)
        kept = found
        for postprocessor in self._postprocessors(bundle):
            kept = postprocessor.postprocess_nodes(kept, query_bundle=bundle)
        return self._objects(found, kept)

    async def aretrieve(self, str_or_query_bundle: str | QueryBundle) -> list[BaseTool]:
        """`retrieve` off the event loop, postprocessors included."""
        bundle = _bundle(str_or_query_bundle)
        found = await self._retriever.aretrieve(bundle)
        kept = found
        for postprocessor in self._postprocessors(bundle):
            kept = await postprocessor.apostprocess_nodes(kept, query_bundle=bundle)
        return self._objects(found, kept)

    def close(self) -> None:
        """Close the store if this opened it; a retriever that was given stays open."""
        if self._is_owner:
            self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._registry!r})"

    def _postprocessors(self, bundle: QueryBundle) -> list[BaseNodePostprocessor]:
        # Without a request there are only pinned tools, and nothing to compare them with.
        return [] if is_blank(query_of(bundle)) else self._node_postprocessors

    def _objects(self, found: Sequence[NodeWithScore], kept: Sequence[NodeWithScore]) -> list[BaseTool]:
        always = [node for node in found if node.node.metadata.get(ALWAYS)]
        nodes = {found.node.node_id: found.node for found in (*kept, *always)}
        return [self._object_node_mapping.from_node(node) for node in nodes.values()]


def _bundle(request: object) -> QueryBundle:
    if isinstance(request, str):
        return QueryBundle(query_str=request)
    if not isinstance(request, QueryBundle):
        raise InputError(
            f"request: got {type(request).__name__}; expected a str or QueryBundle, such as the user's words."
        )
    return request


def _check_shared(retriever: object, *, embedder: object, path: object, pinned: Sequence[str]) -> None:
    if retriever is None:
        return
    if not isinstance(retriever, ToolRetriever):
        raise ConfigError(
            f"retriever: got {type(retriever).__name__}; expected a ToolRetriever, such as ToolRetriever(embedder)."
        )
    given = {"embedder": embedder is not None, "path": path is not None, "pinned": bool(pinned)}
    if chosen := [name for name, is_given in given.items() if is_given]:
        raise ConfigError(
            f"retriever, {', '.join(chosen)}: got both; expected either an open ToolRetriever, which has its own, or "
            "what to open one with."
        )
