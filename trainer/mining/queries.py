"""What is mined: queries with the documents that each may be given. One file per kind of source, one line each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from evals.records import EvaluationSet
from rag_embedder.registry import Registry


def _nothing_hidden() -> Mapping[str, frozenset[str]]:
    return {}


def _no_text() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingQueries:
    """Queries of one split, their documents, and the known positives among these (judgements above 0).

    `hidden` names, by query id, documents that the query must not be given: itself, or what comes after it.
    `continuations` are the texts that follow documents in their source, with the white space between. `prompts`, by
    query id, are what a language model is asked where that is not the text that is encoded. `tasks`, by the id of a
    query or document: a document that is found is labelled if it is of the query's own task. `may_be_given`, if it is
    not None, names the only documents that can be candidates.
    """

    documents: EvaluationSet
    hidden: Mapping[str, frozenset[str]] = field(default_factory=_nothing_hidden)
    continuations: Mapping[str, str] = field(default_factory=_no_text)
    prompts: Mapping[str, str] = field(default_factory=_no_text)
    tasks: Mapping[str, str] = field(default_factory=_no_text)
    may_be_given: frozenset[str] | None = None


KINDS = Registry(
    "kind of data set",
    {
        "beir": "trainer.mining.labelled:read_labelled",
        "memory": "trainer.mining.labelled:read_labelled",
        "chunked_questions": "trainer.mining.chunked_questions:read_chunked_questions",
        "demonstrations": "trainer.mining.demonstrations:read_pool",
        "next_turn": "trainer.mining.own_history:read_dialogues",
        "long_text": "trainer.mining.own_history:read_long_texts",
    },
)
"""Functions of a `MiningSource` and a `Selection` that give `TrainingQueries`."""
