"""A system is anything that answers queries. One file each, one registry line each."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from evals.records import EvaluationSet, Query
from rag_embedder.registry import Registry

Ranking = Sequence[tuple[str, float]]
"""(document id, score), best first."""


class SystemIndex(Protocol):
    """One system's view of one set's documents."""

    @property
    def num_bytes(self) -> int:
        """What the index holds besides the texts."""
        ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall time so far by step: some of `encoding_documents`, `indexing`, `encoding_queries`, `searching`."""
        ...

    def search(self, queries: Sequence[Query], k: int) -> list[Ranking]:
        """The `k` best documents for each query, in order; only those of the query's own text if it has `within`."""
        ...


class System(Protocol):
    """One line of the table."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever its answers may change."""
        ...

    def describe(self) -> Mapping[str, str]:
        """What a reader must know to repeat it, by name."""
        ...

    def index(self, evaluation_set: EvaluationSet, *, use_cache: bool = True) -> SystemIndex:
        """Take in a set's documents; without the cache, everything is really encoded."""
        ...


WITHOUT_ENCODER = Registry(
    "system",
    {
        "bm25": "evals.systems.bm25:BM25System",
        "random": "evals.systems.chance:RandomSystem",
        "oracle": "evals.systems.chance:OracleSystem",
    },
)
"""Systems that need no model. All others are made by `evals.systems.specification.open_system`."""

__all__ = ["WITHOUT_ENCODER", "Ranking", "System", "SystemIndex"]
