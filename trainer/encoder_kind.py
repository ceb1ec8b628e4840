"""An encoder in training: queries and documents to vectors, compared over all processes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer.batch_loss import batch_loss
from trainer.collate import TrainingBatch
from trainer.dev_metrics import search_dev
from trainer.examples import Example
from trainer.export import write_encoder
from trainer.fit import check_scenarios, check_vectors, load_encoder
from trainer.groups import Group
from trainer.losses import LossSettings
from trainer.losses.weighted_sum import WeightedLoss
from trainer.model import TrainableEncoder
from trainer.model_card import Licences, model_card
from trainer.settings import Recipe
from trainer.training_sets import TrainingSet


class EncoderKind:
    """`ModelKind` of `TrainableEncoder`."""

    def __init__(self, model: TrainableEncoder) -> None:
        self._model = model

    @classmethod
    def load(cls, recipe: Recipe, *, device: str) -> TrainableEncoder:
        """Errors as `TrainableEncoder.load`."""
        return load_encoder(recipe, device=device)

    def check(self, recipe: Recipe, training_sets: Mapping[str, TrainingSet]) -> None:
        """Raise ConfigError for a scenario that the base lacks, InputError for vectors that are not of length 1."""
        check_scenarios(recipe, self._model)
        check_vectors(recipe, self._model, training_sets)

    def tokenize(self, groups: Sequence[Group], scenario: str) -> list[list[int]]:
        """B queries, then B * G documents ordered by query, each with its role's instruction."""
        texts = [text for group in groups for text in group.documents]
        queries = self._model.tokenize([group.query for group in groups], scenario, "query")
        return [*queries, *self._model.tokenize(texts, scenario, "document")]

    def loss(self, rows: Tensor, batch: TrainingBatch, options: LossSettings, *, dims: Sequence[int]) -> WeightedLoss:
        """See `batch_loss`."""
        return batch_loss(rows, batch, options, dims=dims)

    def measure(self, examples: Sequence[Example], scenario: str) -> Mapping[str, float]:
        """See `search_dev`."""
        return search_dev(self._model, examples, scenario)

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
        """A folder for Embedder.load and sentence-transformers, or a delta folder."""
        settings = replace(self._model.settings, name=name, training_state=training_state)
        base = self._model.settings.name
        card = model_card(run, recipe, state, settings=settings, base=base, licences=licences, delta_bits=delta_bits)
        write_encoder(self._model, settings, out, delta_bits=delta_bits)
        return card
