"""What can be trained, and what differs between kinds: how groups are read, what is compared, measured and exported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from rag_embedder.registry import Registry
from trainer.trainable import TrainableModel

if TYPE_CHECKING:
    from trainer.collate import TrainingBatch
    from trainer.examples import Example
    from trainer.groups import Group
    from trainer.losses import LossSettings
    from trainer.losses.weighted_sum import WeightedLoss
    from trainer.model_card import Licences
    from trainer.settings import Recipe
    from trainer.training_sets import TrainingSet

MODEL_KINDS = Registry(
    "model.kind",
    {
        "encoder": "trainer.encoder_kind:EncoderKind",
        "reranker": "trainer.reranker_kind:RerankerKind",
    },
)


class ModelKind(Protocol):
    """One kind, around one model."""

    def __init__(self, model: Any) -> None: ...  # noqa: ANN401  (each kind has its own)

    @classmethod
    def load(cls, recipe: "Recipe", *, device: str) -> TrainableModel:
        """The model before training: the same in every process, new weights included."""
        ...

    def check(self, recipe: "Recipe", training_sets: Mapping[str, "TrainingSet"]) -> None:
        """Refuse data that this model cannot be trained on, before the first step."""
        ...

    def tokenize(self, groups: Sequence["Group"], scenario: str) -> list[list[int]]:
        """The rows of ids that go through the model for these groups, in the order that `loss` takes theirs."""
        ...

    def loss(
        self, rows: Tensor, batch: "TrainingBatch", options: "LossSettings", *, dims: Sequence[int]
    ) -> "WeightedLoss":
        """What is minimised, from what the model gave for the batch's rows of ids."""
        ...

    def measure(self, examples: Sequence["Example"], scenario: str) -> Mapping[str, float]:
        """nDCG@10 of every query of a dev split, 0 to 1."""
        ...

    def export(
        self,
        out: Path,
        run: Path,
        recipe: "Recipe",
        state: Mapping[str, Any],
        *,
        name: str,
        training_state: str,
        licences: "Licences",
        delta_bits: int | None,
    ) -> str:
        """Write the model into the new folder `out`; returns its model card."""
        ...
