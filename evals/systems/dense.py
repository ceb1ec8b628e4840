"""An encoder as a system: exact search over its vectors."""

import json
import time
from collections.abc import Mapping, Sequence

import numpy as np

from evals.records import EvaluationSet, Query
from evals.systems import Ranking
from evals.systems.texts import document_text, groups_of, queries_by_group, query_text
from evals.vector_cache import VectorCache
from rag_embedder.index.flat import FlatIndex
from rag_embedder.protocols import TextEncoder


class DenseSystem:
    """Queries and documents are encoded with the instructions of the set's scenario; the score is the inner product.

    Args:
        encoder: gives the vectors; unit rows make the score the cosine.
        name: what the table calls it.
        settings: what `describe` tells, such as where the model came from.
        cache: keeps vectors between runs; None encodes everything.
    """

    def __init__(
        self, encoder: TextEncoder, *, name: str, settings: Mapping[str, str], cache: VectorCache | None = None
    ) -> None:
        self.name = name
        self._encoder = encoder
        self._settings = dict(settings)
        self._cache = cache

    @property
    def fingerprint(self) -> str:
        """That of the encoder, for all scenarios."""
        scenarios = getattr(self._encoder, "scenarios", {})
        return json.dumps({name: self._encoder.fingerprint_of(name) for name in sorted(scenarios)})

    def describe(self) -> Mapping[str, str]:
        """Where the model came from and how it is used."""
        return {"kind": "encoder", "model": self._encoder.name, "dim": str(self._encoder.dim), **self._settings}

    def index(self, evaluation_set: EvaluationSet, *, use_cache: bool = True) -> "DenseSystemIndex":
        """Encode the documents, or read their vectors."""
        return DenseSystemIndex(self._encoder, self._cache if use_cache else None, evaluation_set)


class DenseSystemIndex:
    """The document vectors of one set; groups are slices of one index."""

    def __init__(self, encoder: TextEncoder, cache: VectorCache | None, evaluation_set: EvaluationSet) -> None:
        self._encoder = encoder
        self._cache = cache
        self._scenario = evaluation_set.scenario
        groups = groups_of(evaluation_set)
        order = [position for positions in groups.values() for position in positions]
        self._ids = [evaluation_set.documents[position].id or "" for position in order]
        self._allowed: dict[str | None, np.ndarray] = {}
        first = 0
        for group, positions in groups.items():
            self._allowed[group] = np.arange(first, first + len(positions))
            first += len(positions)
        start = time.perf_counter()
        vectors = self._vectors([document_text(evaluation_set.documents[p]) for p in order], "document")
        self.seconds = {"encoding_documents": time.perf_counter() - start, "encoding_queries": 0.0, "searching": 0.0}
        self._index = FlatIndex(encoder.dim)
        self._index.add(np.arange(len(order)), vectors)
        self.num_bytes = int(vectors.nbytes)

    def search(self, queries: Sequence[Query], k: int) -> list[Ranking]:
        """Exact: every document of the query's group is scored."""
        start = time.perf_counter()
        vectors = self._vectors([query_text(query, self._scenario, self._fits) for query in queries], "query")
        encoded = time.perf_counter()
        rankings: list[Ranking] = [[] for _ in queries]
        for group, positions in queries_by_group(queries):
            allowed = self._allowed.get(group)
            if allowed is None:
                continue
            only = None if len(allowed) == len(self._ids) else allowed
            for position, found in zip(positions, self._index.search(vectors[positions], k, allowed=only), strict=True):
                rankings[position] = [
                    (self._ids[n], float(s)) for n, s in zip(found.numbers, found.scores, strict=True)
                ]
        self.seconds["encoding_queries"] += encoded - start
        self.seconds["searching"] += time.perf_counter() - encoded
        return rankings

    def _vectors(self, texts: Sequence[str], role: str) -> np.ndarray:
        if self._cache is not None:
            return self._cache.encode(self._encoder, texts, scenario=self._scenario, role=role)
        if role == "query":
            return self._encoder.encode_queries(texts, self._scenario)
        return self._encoder.encode_documents(texts, self._scenario)

    def _fits(self, text: str) -> bool:
        preview = getattr(self._encoder, "preview", None)
        return preview is None or not preview(text, self._scenario, "query").is_truncated
