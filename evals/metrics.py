"""Values per query of the usual measures, from a run and the judgements, through ir-measures and pytrec_eval."""

from collections.abc import Mapping, Sequence
from typing import Any

import ir_measures
import numpy as np
from numpy.typing import NDArray

from evals.errors import RunError
from evals.records import Qrels, Run, Values
from rag_embedder.errors import ConfigError

METRICS = ("nDCG@1", "nDCG@3", "nDCG@5", "nDCG@10", "Recall@5", "Recall@10", "Recall@100", "RR@10", "Success@5")
"""What every set is measured by. nDCG has linear gain: a judgement of 2 counts twice one of 1."""

LARGEST_SCORE = float(np.finfo(np.float32).max)
"""Scores beyond it, in either direction, are not finite in single precision."""

_INFINITY = np.float32(np.inf)
_TINY = np.float32(1e-30)


def strictly_ordered(run: Mapping[str, Sequence[tuple[str, float]]]) -> dict[str, list[tuple[str, float]]]:
    """The run with every ranking best first, ties broken by document id (ascending), and scores strictly falling.

    A score that does not fall below the one before it becomes the next smaller number of single precision, because
    trec_eval compares scores in single precision and would order what is equal there by its own rule (by document
    id, descending). All other scores stay, rounded to single precision.

    Raises:
        RunError: if a score is no finite number, or a document is twice in one ranking.
    """
    return {query: _ordered(query, ranking) for query, ranking in run.items()}


def evaluate_run(run: Run, qrels: Qrels, metrics: Sequence[str] = METRICS) -> Values:
    """Each metric's value for each query of `qrels`, in their order; 0 for a query that the run does not answer.

    Metrics are named as in ir-measures, such as "nDCG@10" or "P@5". Recall@k divides by all relevant documents, even
    if those are more than k; nDCG@k by the best that k places can hold. Queries without judgements are left out.

    Raises:
        RunError: if a score is no finite number, or a document is twice in one ranking.
        ConfigError: for a metric that pytrec_eval does not know.
    """
    ordered = {query: ranking for query, ranking in strictly_ordered(run).items() if ranking and query in qrels}
    # below 0 is not relevant, too; pytrec_eval takes no such judgements
    judged = {query: {id_: max(score, 0) for id_, score in scores.items()} for query, scores in qrels.items()}
    by_cutoff: dict[int | None, dict[Any, str]] = {}
    for metric in metrics:
        measure, cutoff = _measure(metric)
        by_cutoff.setdefault(cutoff, {})[measure] = metric
    values = {metric: dict.fromkeys(qrels, 0.0) for metric in metrics}
    for cutoff, names in by_cutoff.items():
        answered = {query: dict(ranking[:cutoff]) for query, ranking in ordered.items()}
        for found in ir_measures.pytrec_eval.iter_calc(list(names), judged, answered):
            values[names[found.measure]][found.query_id] = float(found.value)
    return values


def _ordered(query: str, ranking: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    if len({document for document, _ in ranking}) != len(ranking):
        raise RunError(f"query {query!r}: a document is twice in its ranking; expected each at most once.")
    for document, score in ranking:
        if not abs(score) <= LARGEST_SCORE:
            raise RunError(
                f"query {query!r}, document {document!r}: the score is {score}; expected a finite number of single "
                "precision."
            )
    best_first = sorted(ranking, key=lambda hit: (-hit[1], hit[0]))
    scores = np.array([score for _, score in best_first], dtype=np.float32)
    if not np.all(scores[1:] < scores[:-1]):
        _let_fall(scores)
    return [(document, score) for (document, _), score in zip(best_first, scores.tolist(), strict=True)]


def _let_fall(scores: NDArray[np.float32]) -> None:
    """Lower, in place, each score that does not fall below the one before it."""
    for rank in range(1, len(scores)):
        if scores[rank] >= scores[rank - 1]:
            below = np.nextafter(scores[rank - 1], -_INFINITY)
            # around zero the next number is a subnormal one, which some libraries make the processor take for zero
            scores[rank] = below if abs(below) > _TINY else -_TINY


def _measure(metric: str) -> tuple[Any, int | None]:
    """The measure as pytrec_eval takes it, and how deep rankings have to be cut for it."""
    try:
        measure = ir_measures.parse_measure(metric)
    except (ValueError, NameError, SyntaxError) as error:
        raise ConfigError(f"unknown metric {metric!r}; expected names such as: {', '.join(METRICS)}.") from error
    cutoff = None
    if measure.NAME == "RR":  # trec_eval's reciprocal rank has no cut-off
        cutoff = measure.params.get("cutoff")
        measure = ir_measures.RR(**{name: value for name, value in measure.params.items() if name != "cutoff"})
    if not ir_measures.pytrec_eval.supports(measure):
        raise ConfigError(f"metric {metric!r} is not one of trec_eval's; expected names such as: {', '.join(METRICS)}.")
    return measure, cutoff
