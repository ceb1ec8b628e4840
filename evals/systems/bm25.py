"""BM25, the lexical baseline: the same index that our retrievers use in lexical mode."""

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np

from evals.records import EvaluationSet, Query
from evals.systems import Ranking
from evals.systems.texts import document_text, groups_of, queries_by_group, query_text
from rag_embedder.lexical import K1, B, BM25Index


class BM25System:
    """Word statistics are those of the documents searched together: of one user's memory, of one long text."""

    name = "bm25"

    @property
    def fingerprint(self) -> str:
        """Its parameters and the library's version."""
        return f"bm25/lucene/k1={K1}/b={B}/bm25s={version('bm25s')}"

    def describe(self) -> Mapping[str, str]:
        """The variant and its parameters."""
        return {"kind": "BM25, Lucene's variant", "k1": str(K1), "b": str(B), "words": "English stop words, stemmed"}

    def index(self, evaluation_set: EvaluationSet, *, use_cache: bool = True) -> "BM25SystemIndex":
        """One BM25 index per group of documents; nothing is cached."""
        del use_cache
        return BM25SystemIndex(evaluation_set)


class BM25SystemIndex:
    """The documents of one set by group."""

    def __init__(self, evaluation_set: EvaluationSet) -> None:
        start = time.perf_counter()
        self._scenario = evaluation_set.scenario
        self._ids = {
            g: [evaluation_set.documents[p].id or "" for p in ps] for g, ps in groups_of(evaluation_set).items()
        }
        self._indexes = {
            group: BM25Index(
                np.arange(len(positions)), [document_text(evaluation_set.documents[position]) for position in positions]
            )
            for group, positions in groups_of(evaluation_set).items()
        }
        self.seconds = {"indexing": time.perf_counter() - start, "searching": 0.0}

    @property
    def num_bytes(self) -> int:
        """Postings and vocabulary."""
        return sum(index.num_bytes for index in self._indexes.values())

    def search(self, queries: Sequence[Query], k: int) -> list[Ranking]:
        """Documents that share a word with the query; others are not found."""
        start = time.perf_counter()
        rankings: list[Ranking] = [[] for _ in queries]
        for group, positions in queries_by_group(queries):
            if group not in self._indexes:
                continue
            texts = [query_text(queries[position], self._scenario) for position in positions]
            for position, found in zip(positions, self._indexes[group].search(texts, k), strict=True):
                names = self._ids[group]
                rankings[position] = [(names[n], float(s)) for n, s in zip(found.numbers, found.scores, strict=True)]
        self.seconds["searching"] += time.perf_counter() - start
        return rankings
