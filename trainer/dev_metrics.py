"""How well the model ranks on the dev splits, by scenario: what early stopping looks at."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch

from evals.metrics import evaluate_run
from trainer.errors import NonFiniteError
from trainer.examples import Example
from trainer.model import TrainableEncoder
from trainer.model_kinds import ModelKind
from trainer.training_sets import TrainingSet, relevant

METRIC = "nDCG@10"
_CHUNK = 512
_DEPTH = 10


def evaluate_dev(kind: ModelKind, training_sets: Mapping[str, TrainingSet]) -> dict[str, Mapping[str, float]]:
    """nDCG@10 of every query, by data set; only sets with a dev split.

    Raises:
        NonFiniteError: if the model's vectors or scores are no numbers.
    """
    return {
        name: kind.measure(training_set.dev, training_set.settings.scenario)
        for name, training_set in training_sets.items()
        if training_set.dev
    }


def mean_by_scenario(means: Mapping[str, float], training_sets: Mapping[str, TrainingSet]) -> dict[str, float]:
    """The mean over the data sets of each scenario, from the mean of each."""
    by_scenario: dict[str, list[float]] = {}
    for name, value in means.items():
        by_scenario.setdefault(training_sets[name].settings.scenario, []).append(value)
    return {scenario: fmean(found) for scenario, found in by_scenario.items()}


def refuse_diverged(numbers: torch.Tensor, scenario: str) -> None:
    """Raise NonFiniteError unless all numbers that a model gave for a dev split are finite."""
    if not bool(numbers.isfinite().all()):
        raise NonFiniteError(
            f"vectors or scores of a dev split of scenario {scenario!r} are no numbers: the weights diverged in the "
            "steps before. Lower train.learning_rate, or set train.clip; earlier checkpoints are kept."
        )


def search_dev(encoder: TrainableEncoder, examples: Sequence[Example], scenario: str) -> Mapping[str, float]:
    """nDCG@10 of every query, by an encoder.

    Where ids name documents in the whole split, every query searches the candidates of all examples. Where they are
    counted per example, as turns of a dialogue are, it searches its own.

    Raises:
        NonFiniteError: if the encoder's vectors are no numbers.
    """
    texts: dict[str, int] = {}
    for example in examples:
        for candidate in example.candidates:
            texts.setdefault(candidate.text, len(texts))
    by_id: dict[str, str] = {}
    is_shared = all(
        by_id.setdefault(candidate.id, candidate.text) == candidate.text
        for example in examples
        for candidate in example.candidates
    )
    judged = [example for example in examples if relevant(example)]
    queries = _encode(encoder, [example.query for example in judged], scenario, is_query=True)
    documents = _encode(encoder, list(texts), scenario, is_query=False)
    refuse_diverged(queries, scenario)
    refuse_diverged(documents, scenario)
    ids = list(by_id)
    columns = torch.tensor([texts[by_id[name]] for name in ids])
    run, qrels = {}, {}
    for row, example in zip(queries, judged, strict=True):
        if not is_shared:
            ids = [candidate.id for candidate in example.candidates]
            columns = torch.tensor([texts[candidate.text] for candidate in example.candidates])
        best = (documents[columns] @ row).topk(min(_DEPTH, len(ids)))
        run[example.id] = [
            (ids[place], score) for place, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        qrels[example.id] = relevant(example)
    return evaluate_run(run, qrels, [METRIC])[METRIC]


@torch.no_grad()
def _encode(encoder: TrainableEncoder, texts: Sequence[str], scenario: str, *, is_query: bool) -> torch.Tensor:
    rows = [
        encoder.encode(texts[start : start + _CHUNK], scenario, "query" if is_query else "document").cpu()
        for start in range(0, len(texts), _CHUNK)
    ]
    return torch.cat(rows)
