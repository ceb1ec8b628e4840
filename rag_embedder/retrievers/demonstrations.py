"""Worked examples that help a language model do the task at hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rag_embedder.encoder import Embedder
from rag_embedder.errors import ConfigError, InvalidTextError
from rag_embedder.index import IndexSettings
from rag_embedder.protocols import PairScorer
from rag_embedder.registry import unknown_name
from rag_embedder.retrievers.base import StoreOwner, check_max_tokens, in_thread, retrieve_non_empty
from rag_embedder.retrievers.diversity import by_label, by_relevance, marginal_relevance
from rag_embedder.retrievers.entries import NewEntries, check_document_text, check_list, content_id, digest
from rag_embedder.retrievers.second_stage import RERANK_DEPTH, SecondStage
from rag_embedder.search import (
    MAX_K,
    AddReport,
    Found,
    MetadataFilter,
    Mode,
    SemanticSearch,
    check_encoder,
    check_k,
    check_mode,
)
from rag_embedder.store import NewEntry, NewPart, Store
from rag_embedder.store.json_values import check_id, encode
from rag_embedder.texts import check_text, check_texts
from rag_embedder.types import Demonstration, Hit

KIND = "demonstration"

Order = Literal["best_first", "best_last"]
Diversity = Literal["mmr", "label"]
ORDERS = ("best_first", "best_last")
DIVERSITIES = ("mmr", "label")


class DemonstrationRetriever(StoreOwner):
    """A pool of demonstrations, found by the input they would help with.

    A demonstration is encoded as input, newline, output; the query is an input alone (LLM-Embedder, scenario "icl").

    Args:
        embedder: the encoder.
        path: folder of a durable store, opened or created; None keeps all in memory.
        scenario: instructions to use.
        index: "faiss" (default), "flat", "chroma", or the settings object of one of them.
        mode: "dense", "lexical" (BM25) or "hybrid".
        reranker: a `Reranker`, or what has its `score_pairs`: orders the best of what `mode` finds
            after all filters. Hits have its score then, and the first stage's as `retrieval_score`.
        rerank_depth: how many of the best it reads; at least `k`.
            Order: `mode`, then repetitions out, then the reranker, then `diversity`, then the budget of tokens.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        path: str | Path | None = None,
        scenario: str = "icl",
        index: str | IndexSettings = "faiss",
        mode: Mode = "dense",
        reranker: PairScorer | None = None,
        rerank_depth: int = RERANK_DEPTH,
    ) -> None:
        check_encoder(embedder, scenario)
        check_mode(mode)
        self._second_stage = SecondStage(reranker, rerank_depth)
        self._embedder = embedder
        self._mode: Mode = mode
        store = Store.open(path)
        try:
            self._search = SemanticSearch(
                embedder, store, kind=KIND, scenario=scenario, render=_demonstration_text, index=index
            )
        except BaseException:
            store.close()
            raise
        super().__init__(store, [self._search])

    def add(self, demonstrations: Iterable[Demonstration], *, show_progress: bool | None = None) -> list[str]:
        """Add demonstrations, or replace those with the same id; returns their ids, in order. All or none.

        Raises:
            InvalidTextError: for an empty input or output, or one that is not text, with its position.
            DuplicateIdError: if one id is given twice.
        """
        return list(self.update(demonstrations, show_progress=show_progress).ids)

    def update(self, demonstrations: Iterable[Demonstration], *, show_progress: bool | None = None) -> AddReport:
        """As `add`, but tells which demonstrations were new, changed and unchanged."""
        check_list(demonstrations, field="demonstrations", expected="Demonstration")
        entries = NewEntries()
        for position, demonstration in enumerate(demonstrations):
            entries.append(_entry(demonstration, position), has_own_id=demonstration.id is not None)
        report = self._search.add(list(entries), show_progress=show_progress)
        return replace(report, ids=tuple(entries.ids))

    def retrieve(
        self,
        query: str,
        k: int = 8,
        *,
        order: Order = "best_first",
        max_tokens: int | None = None,
        exclude_self: bool = False,
        diversity: Diversity | None = None,
        filter: MetadataFilter | None = None,
        mode: Mode | None = None,
    ) -> list[Hit[Demonstration]]:
        """At most `k` demonstrations for an input; repetitions of one input and output count once.

        Args:
            query: the input to be solved.
            k: how many, from 1 to 10,000.
            order: "best_first", or "best_last", which puts the best next to the query in a prompt; `rank` stays.
            max_tokens: most tokens of all inputs and outputs together; the worst are dropped first.
            exclude_self: leave out demonstrations of the very same input (for queries drawn from the pool).
            diversity: "mmr" trades similarity for novelty (maximal marginal relevance, lambda 0.7); "label" takes
                outputs in turn.
            filter: only demonstrations whose metadata match; "task" is one of them. Applied before ranking.
            mode: overrides the retriever's.
        """
        return self.retrieve_batch(
            [query],
            k,
            order=order,
            max_tokens=max_tokens,
            exclude_self=exclude_self,
            diversity=diversity,
            filter=filter,
            mode=mode,
        )[0]

    def retrieve_batch(
        self,
        queries: Iterable[str],
        k: int = 8,
        *,
        order: Order = "best_first",
        max_tokens: int | None = None,
        exclude_self: bool = False,
        diversity: Diversity | None = None,
        filter: MetadataFilter | None = None,
        mode: Mode | None = None,
    ) -> list[list[Hit[Demonstration]]]:
        """Hits for each input, in order; see `retrieve`."""
        check_k(k)
        if order not in ORDERS:
            raise unknown_name("order", order, list(ORDERS))
        if diversity is not None and diversity not in DIVERSITIES:
            raise unknown_name("diversity", diversity, list(DIVERSITIES))
        used_mode = self._mode if mode is None else mode
        if diversity == "mmr" and used_mode != "dense":
            raise ConfigError("diversity='mmr' compares scores with cosines; expected mode='dense'.")
        if diversity == "mmr" and self._second_stage:
            raise ConfigError("diversity='mmr' compares scores with cosines; expected a retriever without a reranker.")
        check_max_tokens(max_tokens, may_be_none=True)

        def retrieve(asked: list[str]) -> list[list[Hit[Demonstration]]]:
            depth = self._second_stage.depth(k)
            rankings = self._candidates(asked, depth, filter, used_mode, exclude_self)
            if self._second_stage:
                best = [ranking[:depth] for ranking in rankings]
                rankings = self._second_stage.order(asked, best, self._search.text)
            results = []
            for candidates in rankings:
                chosen = self._within_budget(self._choose(candidates, k, diversity), max_tokens)
                hits = [_hit(found, rank) for rank, found in enumerate(chosen, start=1)]
                results.append(hits[::-1] if order == "best_last" else hits)
            return results

        return retrieve_non_empty(queries, retrieve)

    async def aretrieve(
        self,
        query: str,
        k: int = 8,
        *,
        order: Order = "best_first",
        max_tokens: int | None = None,
        exclude_self: bool = False,
        diversity: Diversity | None = None,
        filter: MetadataFilter | None = None,
        mode: Mode | None = None,
    ) -> list[Hit[Demonstration]]:
        """`retrieve` off the event loop; concurrent queries are encoded together."""
        return await in_thread(
            lambda: self.retrieve(
                query,
                k,
                order=order,
                max_tokens=max_tokens,
                exclude_self=exclude_self,
                diversity=diversity,
                filter=filter,
                mode=mode,
            )
        )

    def prompt(
        self,
        query: str,
        k: int = 8,
        *,
        max_tokens: int | None = 1024,
        exclude_self: bool = False,
        diversity: Diversity | None = None,
        filter: MetadataFilter | None = None,
        mode: Mode | None = None,
    ) -> str:
        """Demonstrations and query, each on lines of its own, the best demonstration last (LLM-Embedder, appendix A).

        `max_tokens` bounds demonstrations and query together, by the encoder's tokenizer; the query is never cut.
        """
        check_max_tokens(max_tokens, may_be_none=True)
        room = None
        if max_tokens is not None:
            room = max(1, max_tokens - self._embedder.count_tokens([check_text(query, field="query")])[0])
        hits = self.retrieve(
            query,
            k,
            order="best_last",
            max_tokens=room,
            exclude_self=exclude_self,
            diversity=diversity,
            filter=filter,
            mode=mode,
        )
        return "".join(f"{text}\n" for text in [*(hit.item.text for hit in hits), query])

    def delete(self, ids: Iterable[str]) -> int:
        """Remove demonstrations; returns how many were there."""
        return self._store.delete(KIND, "", check_texts(ids, field="ids"))

    def __len__(self) -> int:
        return self._store.count(KIND)

    def _candidates(
        self, queries: list[str], k: int, filter: MetadataFilter | None, mode: Mode, exclude_self: bool
    ) -> list[list[Found]]:
        """Distinct demonstrations for each query, best first: at least `k`, if that many match."""
        kept: list[list[Found]] = [[] for _ in queries]
        left = list(range(len(queries)))
        depth = min(MAX_K, 4 * k + 16)
        while True:
            rankings = self._search.search([queries[i] for i in left], depth, filter=filter, mode=mode)
            for i, ranking in zip(left, rankings, strict=True):
                kept[i] = _distinct(ranking, without=queries[i] if exclude_self else None)
            # Repetitions may have taken all the places: look deeper for those queries, until nothing is left.
            left = [i for i, ranking in zip(left, rankings, strict=True) if len(kept[i]) < k and len(ranking) == depth]
            if not left or depth == MAX_K:
                return kept
            depth = min(MAX_K, 4 * depth)

    def _choose(self, candidates: list[Found], k: int, diversity: Diversity | None) -> list[Found]:
        if diversity == "label":
            return by_label(candidates, k, label=lambda found: found.item.payload["output"])
        if diversity == "mmr":
            return marginal_relevance(candidates, k, vectors=self._search.vectors([c.item for c in candidates]))
        return by_relevance(candidates, k)

    def _within_budget(self, chosen: list[Found], max_tokens: int | None) -> list[Found]:
        if max_tokens is None:
            return chosen
        kept: list[Found] = []
        used = 0
        for found, tokens in zip(
            chosen, self._embedder.count_tokens([_demonstration_text(f.item.payload) for f in chosen]), strict=True
        ):
            used += tokens
            if used > max_tokens:
                break
            kept.append(found)
        return kept


def _demonstration_text(payload: Mapping[str, Any]) -> str:
    return f"{payload['input']}\n{payload['output']}"


def _entry(demonstration: object, position: int) -> NewEntry:
    if not isinstance(demonstration, Demonstration):
        raise InvalidTextError(
            f"demonstrations[{position}]: got {type(demonstration).__name__}; expected Demonstration. "
            "Nothing was added."
        )
    id_ = demonstration.id
    if id_ is not None:
        check_id(id_, f"demonstrations[{position}].id")
    encode(demonstration.metadata, f"demonstrations[{position}].metadata", id_ or "(new)")
    payload = {
        "input": check_document_text(demonstration.input, field=f"demonstrations[{position}].input"),
        "output": check_document_text(demonstration.output, field=f"demonstrations[{position}].output"),
        "task": check_text(demonstration.task, field=f"demonstrations[{position}].task"),
        "metadata": dict(demonstration.metadata),
    }
    # Filters see the task as metadata; metadata of that name only speaks where there is no task.
    metadata = {"task": "", **demonstration.metadata}
    if payload["task"]:
        metadata["task"] = payload["task"]
    if id_ is None:
        id_ = content_id(payload["task"], payload["input"], payload["output"])
    return NewEntry(id_, (NewPart(payload, metadata),), digest([payload], metadata))


def _distinct(ranking: Sequence[Found], *, without: str | None) -> list[Found]:
    excluded = None if without is None else _words(without)
    seen: set[tuple[str, str]] = set()
    kept = []
    for found in ranking:
        key = (_words(found.item.payload["input"]), _words(found.item.payload["output"]))
        if key not in seen and key[0] != excluded:
            seen.add(key)
            kept.append(found)
    return kept


def _words(text: str) -> str:
    return " ".join(text.split())


def _hit(found: Found, rank: int) -> Hit[Demonstration]:
    payload = found.item.payload
    item = Demonstration(payload["input"], payload["output"], payload["task"], found.item.id, payload["metadata"])
    return Hit(item=item, id=found.item.id, score=found.score, rank=rank, retrieval_score=found.retrieval_score)
