"""The frozen records that cross evaluation's module boundaries, from a data set to a result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rag_embedder.types import Document, Turn

Qrels = Mapping[str, Mapping[str, int]]
"""Judgements: query id -> document id -> relevance; above 0 is relevant."""

Run = Mapping[str, Sequence[tuple[str, float]]]
"""What a system answered: query id -> (document id, score), best first, scores strictly falling."""

Values = Mapping[str, Mapping[str, float]]
"""Metric name -> query id -> value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a set.

    `history` are the turns before it, oldest first; `within` names the one conversation or text that may be searched;
    `answers` are the expected outputs of a language model, where the source has some.
    """

    id: str
    text: str
    history: Sequence[Turn] = ()
    within: str | None = None
    answers: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """One split of one data set, read and checked: every judgement names a query and a document that are here.

    Documents of a set with `within` carry it as metadata {"within": ...}. `is_zero_shot` says whether training may
    have seen the same source; None if nobody said. `checksum` is the SHA-256 over the files that were read.
    `num_unlabelled` counts the split's queries that were left out because nothing is relevant to them.
    """

    name: str
    split: str
    scenario: str
    suite: str
    documents: Sequence[Document]
    queries: Sequence[Query]
    qrels: Qrels
    is_zero_shot: bool | None = None
    checksum: str = ""
    num_unlabelled: int = 0

    @property
    def key(self) -> str:
        """Name and split, such as "knowledge/squad.test": what files and results call it."""
        return f"{self.name}.{self.split}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Wall time that one system took for one set in this run, by step; what is read from a cache costs its reading."""

    encoding_documents: float = 0.0
    indexing: float = 0.0
    encoding_queries: float = 0.0
    searching: float = 0.0
    evaluating: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one system takes, measured on a sample, in turns with the other systems of the same run.

    Bytes of memory are the process's peak while this system worked; None where the machine does not tell.
    """

    documents_per_second: float | None
    query_p50_ms: float
    query_p99_ms: float
    index_bytes_per_document: float
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResult:
    """One system on one set: values per query, from which every mean, interval and test is made."""

    system: str
    key: str
    scenario: str
    suite: str
    num_queries: int
    num_documents: int
    is_zero_shot: bool | None
    checksum: str
    values: Values
    seconds: Seconds = field(default_factory=Seconds)

    def mean(self, metric: str) -> float:
        """The mean over all queries, those without results counted as zero."""
        values = self.values[metric]
        return sum(values.values()) / len(values)
