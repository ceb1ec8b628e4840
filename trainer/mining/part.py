"""Which part of a labelled split is learned from: documents kept for dev, and no negative that could never be right."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evals.records import EvaluationSet, Query
from rag_embedder.errors import ConfigError
from trainer.mining.queries import TrainingQueries


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSettings:
    """How a split is cut.

    Args:
        hold_out: so many known positives are drawn, and held out with all their queries: a dev split of unseen
            documents.
        seen_only: candidates are known positives of the split's queries. A document that is only ever a negative is
            learned as always wrong: where dev and test share a small corpus, as tools do, it is not found again.
        seed: for the draw.

    Raises:
        ConfigError: if `hold_out` is below 1.
    """

    hold_out: int | None = None
    seen_only: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.hold_out is not None and self.hold_out < 1:
            raise ConfigError(f"hold_out: got {self.hold_out}; expected 1 or more documents, or None.")


@dataclass(frozen=True, slots=True)
class Parts:
    """Queries to learn from, and those of the documents that are held out."""

    train: TrainingQueries
    held_out: TrainingQueries


def cut(queries: TrainingQueries, whole: EvaluationSet, settings: PartSettings) -> Parts:
    """Both parts of `queries`, which are the split `whole` or some of it; the other queries of it count as seen, too.

    Documents that are held out are negatives of the others' queries unless `seen_only` is set. Queries that are held
    out search everything.

    Raises:
        ConfigError: if the split has no judgements, or if nothing would be left to learn from.
    """
    if not whole.qrels:
        raise ConfigError(f"{whole.key} has no judgements: --hold-out and --seen-only need known positives.")
    held = _drawn(whole, settings)
    drawn = queries.documents.queries
    ours = [query for query in drawn if not _positives(whole, query) & held]
    if not ours:
        raise ConfigError(f"--hold-out {settings.hold_out}: every query of {whole.key} has such a document; name less.")
    train = _of(queries, ours)
    if settings.seen_only:
        wanted = (_positives(whole, query) for query in whole.queries)
        seen = frozenset().union(*(positives for positives in wanted if not positives & held))
        train = replace(train, may_be_given=seen)
    return Parts(train, _of(queries, [query for query in drawn if _positives(whole, query) & held]))


def _positives(whole: EvaluationSet, query: Query) -> frozenset[str]:
    return frozenset(id_ for id_, score in whole.qrels[query.id].items() if score > 0)


def _drawn(whole: EvaluationSet, settings: PartSettings) -> frozenset[str]:
    if settings.hold_out is None:
        return frozenset()
    known = sorted(frozenset().union(*(_positives(whole, query) for query in whole.queries)))
    draw = random.Random(f"held-out {whole.key} {settings.seed}")
    return frozenset(draw.sample(known, min(settings.hold_out, len(known))))


def _of(queries: TrainingQueries, chosen: Sequence[Query]) -> TrainingQueries:
    qrels = {query.id: queries.documents.qrels[query.id] for query in chosen}
    return replace(queries, documents=replace(queries.documents, queries=chosen, qrels=qrels))
