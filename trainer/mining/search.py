"""Every query is put to every system, block by block, and becomes a training example."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from evals.records import Query
from evals.systems import System
from evals.systems.texts import query_text
from rag_embedder.errors import ConfigError
from trainer.examples import Candidate, Example
from trainer.mining.candidates import CandidateChoice
from trainer.mining.queries import TrainingQueries

_BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningSettings:
    """How candidates are chosen; see `CandidateChoice`.

    Args:
        k: at most so many candidates besides the known positives.
        skip_answers: leave out candidates that hold an answer of the query.
        fits: whether a dialogue, joined to one text, is short enough to be encoded; else its oldest turns go.

    Raises:
        ConfigError: if `k` is below 1.
    """

    k: int = 100
    skip_answers: bool = False
    fits: Callable[[str], bool] = lambda _: True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k: got {self.k}; expected 1 or more candidates for each query.")


def mine(
    queries: TrainingQueries,
    systems: Sequence[System],
    settings: MiningSettings,
    *,
    advance: Callable[[int], object] = lambda _: None,
) -> Iterator[Example]:
    """One example per query with a candidate, in order; `advance` is told how many queries are done.

    Raises:
        ConfigError: if there is no system and the queries search more than their own text.
    """
    documents = queries.documents
    if not systems and any(query.within is None for query in documents.queries):
        raise ConfigError("systems: got none; expected BM25, an encoder, or both.")
    choice = CandidateChoice(queries, k=settings.k, skip_answers=settings.skip_answers)
    depth = _depth(queries, settings.k)
    indexes = [system.index(documents) for system in systems]
    for start in range(0, len(documents.queries), _BLOCK):
        block = documents.queries[start : start + _BLOCK]
        found = [index.search(block, depth) for index in indexes]
        for place, query in enumerate(block):
            candidates = choice.choose(query, [rankings[place] for rankings in found])
            text = query_text(query, documents.scenario, settings.fits)
            if candidates:
                yield _example(query, text, candidates, prompt=queries.prompts.get(query.id, text))
        advance(len(block))


def _example(query: Query, text: str, candidates: Sequence[Candidate], *, prompt: str) -> Example:
    return Example(id=query.id, query=text, prompt=prompt, answers=tuple(query.answers), candidates=tuple(candidates))


def _depth(queries: TrainingQueries, k: int) -> int:
    """How far rankings are read: twice what is needed, as duplicates and answers are left out; own texts to the end."""
    documents = queries.documents
    within = Counter(document.metadata.get("within") for document in documents.documents)
    if None not in within:
        return max(within.values())
    num_positives = max((len(scores) for scores in documents.qrels.values()), default=0)
    # Where one task fills half of the candidates, the other tasks stand far below; and where only a part of the
    # documents may be given, the rest stands between them.
    depth = (10 if queries.tasks else 2) * k
    if queries.may_be_given is not None:
        depth = ceil(depth * len(documents.documents) / max(1, len(queries.may_be_given)))
    return depth + num_positives
