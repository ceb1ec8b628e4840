"""The tools that model requests bring along, ranked by a text; each is encoded once, however often it comes."""

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence

from langchain_core.tools import BaseTool

from rag_embedder import Embedder
from rag_embedder.retrievers.entries import content_id
from rag_embedder.search import Mode, SemanticSearch, check_encoder, check_mode
from rag_embedder.store import NewEntry, NewPart, Store
from rag_embedder.tool_schema import as_tool, tool_schema, tool_text

_KIND = "tool"
_SCENARIO = "tool"

_MAX_HELD = 20_000
"""Tools kept encoded; those that were not asked for longest are forgotten first."""


class RequestedTools:
    """Tools known by what they say rather than by name: two agents may have different tools of one name.

    Held in memory. Safe to share between threads.
    """

    def __init__(self, embedder: Embedder, mode: Mode = "dense") -> None:
        check_encoder(embedder, _SCENARIO)
        check_mode(mode)
        self._embedder = embedder
        self._mode: Mode = mode
        self._store = Store.open(None)
        self._search = SemanticSearch(
            embedder,
            self._store,
            kind=_KIND,
            scenario=_SCENARIO,
            render=lambda payload: payload["text"],
            index="flat",
        )
        self._held: OrderedDict[str, None] = OrderedDict()
        self._adding = threading.Lock()

    def rank(self, request: str, tools: Sequence[BaseTool], k: int, score_threshold: float | None) -> list[str]:
        """Names of the `k` best of these tools, best first; scores are those of a `ToolRetriever`."""
        if not tools:
            return []
        names: dict[str, str] = {}
        texts: dict[str, str] = {}
        for tool in map(as_tool, tools):
            text = tool_text(tool)
            id_ = content_id(text)
            names[id_], texts[id_] = tool.name, text
        self._take_in(texts)
        (ranking,) = self._search.search([request], k, filter={"id": {"in": list(names)}}, mode=self._mode)
        floor = -math.inf if score_threshold is None else score_threshold
        return [names[found.item.id] for found in ranking if found.score >= floor]

    def reads_whole(self, request: str) -> bool:
        """Whether the model reads a request to its end."""
        return not self._embedder.preview(request, _SCENARIO, "query").is_truncated

    def schema_tokens(self, tools: Sequence[BaseTool]) -> int:
        """Tokens that the schemas of these tools take in a prompt, by the encoder's tokenizer."""
        schemas = [json.dumps(tool_schema(as_tool(tool)), separators=(",", ":")) for tool in tools]
        return sum(self._embedder.count_tokens(schemas))

    def _take_in(self, texts: dict[str, str]) -> None:
        with self._adding:  # two requests with the same new tools encode them once
            new = [id_ for id_ in texts if id_ not in self._held]
            self._search.add(
                [NewEntry(id_, (NewPart({"text": texts[id_]}, {"id": id_}),), id_) for id_ in new], show_progress=False
            )
            self._held.update(dict.fromkeys(texts))
            for id_ in texts:
                self._held.move_to_end(id_)
            surplus = [id_ for id_, _ in zip(self._held, range(len(self._held) - _MAX_HELD), strict=False)]
            self._store.delete(_KIND, "", surplus)
            for id_ in surplus:
                del self._held[id_]
