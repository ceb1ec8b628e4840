"""A reranker in training: each pair to a score, each query's candidates compared with each other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from evals.metrics import evaluate_run
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.pair_scores import best_first
from rag_embedder.reranker.folder import write_reranker_folder
from trainer.collate import TrainingBatch
from trainer.dev_metrics import METRIC, refuse_diverged
from trainer.examples import Example
from trainer.groups import Group
from trainer.losses import LossSettings
from trainer.losses.weighted_sum import WeightedLoss
from trainer.model_card import Licences, reranker_card
from trainer.reranker_loss import reranker_loss
from trainer.reranker_model import TrainableReranker
from trainer.settings import Recipe
from trainer.training_sets import TrainingSet, relevant

_CHUNK = 512


class RerankerKind:
    """`ModelKind` of `TrainableReranker`."""

    def __init__(self, model: TrainableReranker) -> None:
        self._model = model

    @classmethod
    def load(cls, recipe: Recipe, *, device: str) -> TrainableReranker:
        """Errors as `TrainableReranker.load`."""
        torch.manual_seed(recipe.train.seed)
        return TrainableReranker.load(recipe.model, device=device)

    def check(self, recipe: Recipe, training_sets: Mapping[str, TrainingSet]) -> None:
        """Raise InputError for a query that leaves no room for a candidate, naming data set and example."""
        tokenizer = self._model.tokenizer
        for name, each in training_sets.items():
            examples = [*each.examples, *each.dev]
            rooms = tokenizer.rooms([example.query for example in examples])
            for example, room in zip(examples, rooms, strict=True):
                if room < 1:
                    raise InputError(
                        f"data.{name}, example {example.id!r}: {tokenizer.too_long(room)} Or set model.max_length."
                    )

    def tokenize(self, groups: Sequence[Group], scenario: str) -> list[list[int]]:
        """B * G pairs ordered by query; a reranker reads no instruction."""
        del scenario
        return self._model.tokenize([(group.query, text) for group in groups for text in group.documents])

    def loss(self, rows: Tensor, batch: TrainingBatch, options: LossSettings, *, dims: Sequence[int]) -> WeightedLoss:
        """See `reranker_loss`."""
        del dims
        return reranker_loss(rows, batch, options)

    def measure(self, examples: Sequence[Example], scenario: str) -> Mapping[str, float]:
        """Over each example's own candidates, as a second stage is given them; equal scores as they came.

        Raises:
            NonFiniteError: if a score is no number.
        """
        judged = [example for example in examples if relevant(example)]
        pairs = [(example.query, candidate.text) for example in judged for candidate in example.candidates]
        scores = torch.cat([self._scores(pairs[start : start + _CHUNK]) for start in range(0, len(pairs), _CHUNK)])
        refuse_diverged(scores, scenario)
        run, qrels, first = {}, {}, 0
        for example in judged:
            own = scores[first : first + len(example.candidates)].numpy()
            first += len(own)
            # Strictly falling numbers, so that the metric keeps the order of equal scores.
            run[example.id] = [
                (example.candidates[place].id, float(-rank)) for rank, place in enumerate(best_first(own))
            ]
            qrels[example.id] = relevant(example)
        return evaluate_run(run, qrels, [METRIC])[METRIC]

    def export(
        self,
        out: Path,
        run: Path,
        recipe: Recipe,
        state: Mapping[str, Any],
        *,
        name: str,
        training_state: str,
        licences: Licences,
        delta_bits: int | None,
    ) -> str:
        """A folder for Reranker.load and transformers' AutoModelForSequenceClassification.

        Raises:
            ConfigError: if a delta is asked for.
        """
        if delta_bits is not None:
            raise ConfigError("--delta: the run trained a reranker; expected an encoder. Export without --delta.")
        settings = replace(self._model.settings, name=name, training_state=training_state)
        card = reranker_card(run, recipe, state, settings=settings, base=self._model.settings.name, licences=licences)
        write_reranker_folder(out, settings, source=self._model.tokenizer_folder, write_weights=self._write)
        return card

    def _write(self, folder: Path) -> None:
        config = self._model.model.config
        config.architectures = [type(self._model.model).__name__]
        config.dtype = "float32"
        config.save_pretrained(folder)
        save_file(self._model.merged_weights(), folder / "model.safetensors", metadata={"format": "pt"})

    @torch.no_grad()
    def _scores(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        return self._model(self._model.tokenize(pairs)).squeeze(1).float().cpu()
