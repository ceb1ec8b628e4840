"""The few tools, out of many, that a request needs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_embedder.encoder import Embedder
from rag_embedder.errors import DuplicateIdError, InputError
from rag_embedder.index import IndexSettings
from rag_embedder.protocols import PairScorer
from rag_embedder.retrievers.base import StoreOwner, in_thread, retrieve_non_empty
from rag_embedder.retrievers.entries import check_list, digest, is_blank
from rag_embedder.retrievers.second_stage import RERANK_DEPTH, SecondStage
from rag_embedder.search import (
    AddReport,
    Found,
    MetadataFilter,
    Mode,
    SemanticSearch,
    check_encoder,
    check_k,
    check_mode,
)
from rag_embedder.store import NewEntry, NewPart, Store, StoredItem
from rag_embedder.texts import check_texts
from rag_embedder.tool_schema import as_tool, tool_schema, tool_text
from rag_embedder.types import Hit, Tool

KIND = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaTokens:
    """Tokens that the function schemas of all tools would take in a prompt, and those of the chosen ones."""

    all_tools: int
    chosen: int

    @property
    def saved(self) -> int:
        """Tokens that need not be sent."""
        return self.all_tools - self.chosen


class ToolRetriever(StoreOwner):
    """Tools of any framework, found by the request they would serve. Tools are retrieved, never run.

    Accepts Python callables (signature and docstring), OpenAI, Anthropic and MCP function schemas as dicts, LangChain,
    LlamaIndex and MCP tool objects, and `Tool`. A tool is known by its name. What is encoded is `tool_text`: name,
    description and parameters, see `rag_embedder.tool_schema`.

    Args:
        embedder: the encoder.
        path: folder of a durable store, opened or created; None keeps all in memory. Dicts and `Tool`s come back as
            they were after reopening; other objects must be added again (unchanged ones are not encoded again) before
            `original` can give them back.
        scenario: instructions to use.
        index: "faiss" (default), "flat", "chroma", or the settings object of one of them.
        mode: "dense", "lexical" (BM25) or "hybrid".
        reranker: a `Reranker`, or what has its `score_pairs`: orders the best of what `mode` finds
            after all filters. Hits have its score then, and the first stage's as `retrieval_score`.
        rerank_depth: how many of the best it reads; at least `k`.
        pinned: names of tools that every result holds, after the `k` best and not counted among them.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        path: str | Path | None = None,
        scenario: str = "tool",
        index: str | IndexSettings = "faiss",
        mode: Mode = "dense",
        pinned: Sequence[str] = (),
        reranker: PairScorer | None = None,
        rerank_depth: int = RERANK_DEPTH,
    ) -> None:
        check_encoder(embedder, scenario)
        check_mode(mode)
        self._second_stage = SecondStage(reranker, rerank_depth)
        self._embedder = embedder
        self._scenario = scenario
        self._mode: Mode = mode
        self._pinned = tuple(dict.fromkeys(check_texts(pinned, field="pinned")))
        self._originals: dict[str, object] = {}
        self._schema_tokens: tuple[int, int] | None = None
        store = Store.open(path)
        try:
            self._search = SemanticSearch(
                embedder, store, kind=KIND, scenario=scenario, render=lambda payload: payload["text"], index=index
            )
        except BaseException:
            store.close()
            raise
        super().__init__(store, [self._search])

    def add(self, tools: Iterable[object], *, show_progress: bool | None = None) -> list[str]:
        """Add tools, or replace those of the same name; returns their names, in order. All or none.

        Raises:
            InputError: for an object that is no tool, with its position.
            DuplicateIdError: if two tools of the call have one name.
        """
        return list(self.update(tools, show_progress=show_progress).ids)

    def update(self, tools: Iterable[object], *, show_progress: bool | None = None) -> AddReport:
        """As `add`, but tells which tools were new, changed and unchanged."""
        check_list(tools, field="tools", expected="tools")
        recognised = [_recognise(tool, position) for position, tool in enumerate(tools)]
        seen: dict[str, int] = {}
        for position, tool in enumerate(recognised):
            if seen.setdefault(tool.name, position) != position:
                raise DuplicateIdError(
                    f"tool name {tool.name!r} occurs at {seen[tool.name]} and at {position}; expected every name once. "
                    "Nothing was added."
                )
        report = self._search.add([_entry(tool) for tool in recognised], show_progress=show_progress)
        self._originals.update({tool.name: tool.original for tool in recognised})
        return report

    def retrieve(
        self, request: str, k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[Hit[Tool]]:
        """The `k` best tools for a request, best first, then the pinned ones that are not among them.

        Each hit's `item.original` is the object that was added. An empty request finds the pinned tools only. Pinned
        tools that come last have their cosine as score, or 0 where that is not what the others have (lexical, hybrid);
        with a reranker they have its score.

        Args:
            request: what the user wants, without instruction.
            k: how many, from 1 to 10,000; fewer come back if fewer match. Pinned tools do not count.
            filter: only tools whose metadata match; applied before ranking, pinned tools are exempt.
            mode: overrides the retriever's.

        Raises:
            InputError: if a pinned tool has not been added.
        """
        return self.retrieve_batch([request], k, filter=filter, mode=mode)[0]

    def retrieve_batch(
        self, requests: Iterable[str], k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[list[Hit[Tool]]]:
        """Hits for each request, in order; see `retrieve`."""
        asked = check_texts(requests, field="requests")
        chosen = self._mode if mode is None else mode
        check_k(k)

        def rank(queries: list[str]) -> list[list[Found]]:
            found = self._search.search(queries, self._second_stage.depth(k), filter=filter, mode=chosen)
            return [ranking[:k] for ranking in self._second_stage.order(queries, found, self._search.text)]

        rankings = retrieve_non_empty(asked, rank)
        pinned = self._pinned_items()
        return [
            self._hits([*ranking, *self._missing(request, ranking, pinned, chosen)])
            for request, ranking in zip(asked, rankings, strict=True)
        ]

    async def aretrieve(
        self, request: str, k: int = 5, *, filter: MetadataFilter | None = None, mode: Mode | None = None
    ) -> list[Hit[Tool]]:
        """`retrieve` off the event loop; concurrent requests are encoded together."""
        return await in_thread(lambda: self.retrieve(request, k, filter=filter, mode=mode))

    @property
    def pinned(self) -> tuple[str, ...]:
        """Names of the tools that every result holds."""
        return self._pinned

    def get(self, names: Iterable[str]) -> list[Tool]:
        """The tools of these names that are there, in the order given; each with the `original` that was added."""
        items = [self._store.part(KIND, "", name) for name in check_texts(names, field="names")]
        return [self._tool(item) for item in items if item is not None]

    def reads_whole(self, request: str) -> bool:
        """Whether the model reads a request to its end."""
        return not self._embedder.preview(request, self._scenario, "query").is_truncated

    def schema_tokens(self, hits: Sequence[Hit[Tool]]) -> SchemaTokens:
        """What choosing these hits saves: tokens of the JSON schemas, by the encoder's tokenizer."""
        return SchemaTokens(
            all_tools=self._all_schema_tokens(),
            chosen=sum(self._embedder.count_tokens([_schema_json(hit.item) for hit in hits])),
        )

    def delete(self, names: Iterable[str]) -> int:
        """Remove tools by name; returns how many were there."""
        checked = check_texts(names, field="names")
        removed = self._store.delete(KIND, "", checked)
        for name in checked:
            self._originals.pop(name, None)
        return removed

    def __len__(self) -> int:
        return self._store.count(KIND)

    def _pinned_items(self) -> list[StoredItem]:
        items = [self._store.part(KIND, "", name) for name in self._pinned]
        absent = [name for name, item in zip(self._pinned, items, strict=True) if item is None]
        if absent:
            raise InputError(f"pinned tools {absent} have not been added; add them first, or do not pin them.")
        return [item for item in items if item is not None]

    def _missing(self, request: str, ranking: Sequence[Found], pinned: Sequence[StoredItem], mode: Mode) -> list[Found]:
        present = {found.item.id for found in ranking}
        items = [item for item in pinned if item.id not in present]
        if not items:
            return []
        if self._second_stage and not is_blank(request):
            unranked = [Found(item, 0.0) for item in items]
            (scored,) = self._second_stage.order([request], [unranked], self._search.text)
            by_id = {found.item.id: found.score for found in scored}
            return [Found(item, by_id[item.id]) for item in items]
        has_cosines = mode == "dense" and not is_blank(request)
        scores = self._search.scores(request, items) if has_cosines else [0.0] * len(items)
        return [Found(item, score) for item, score in zip(items, scores, strict=True)]

    def _hits(self, ranking: Sequence[Found]) -> list[Hit[Tool]]:
        return [
            Hit(
                item=self._tool(found.item),
                id=found.item.id,
                score=found.score,
                rank=rank,
                retrieval_score=found.retrieval_score,
            )
            for rank, found in enumerate(ranking, start=1)
        ]

    def _tool(self, item: StoredItem) -> Tool:
        payload = item.payload
        stored = Tool(item.id, payload["description"], payload["parameters"], item.metadata)
        original = self._originals.get(item.id, payload.get("original"))
        return Tool(
            stored.name,
            stored.description,
            stored.parameters,
            stored.metadata,
            original=stored if original is None and payload["is_tool"] else original,
        )

    def _all_schema_tokens(self) -> int:
        clock = self._store.clock()
        if self._schema_tokens is None or self._schema_tokens[0] != clock:
            schemas = [_schema_json(self._tool(item)) for item in self._store.iter_items(KIND)]
            self._schema_tokens = (clock, sum(self._embedder.count_tokens(schemas)))
        return self._schema_tokens[1]


def _recognise(tool: object, position: int) -> Tool:
    try:
        return as_tool(tool)
    except InputError as error:
        raise InputError(f"tools[{position}]: {error} Nothing was added.") from error


def _entry(tool: Tool) -> NewEntry:
    payload: dict[str, Any] = {
        "text": tool_text(tool),
        "description": tool.description,
        "parameters": dict(tool.parameters),
        "is_tool": isinstance(tool.original, Tool),
    }
    if isinstance(tool.original, Mapping):
        payload["original"] = dict(tool.original)
    return NewEntry(tool.name, (NewPart(payload, tool.metadata),), digest([payload], tool.metadata))


def _schema_json(tool: Tool) -> str:
    return json.dumps(tool_schema(tool), separators=(",", ":"))
