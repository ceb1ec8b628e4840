"""What the training loop needs of a model, whatever it is trained to do."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.token_batches import PaddingCount
from trainer.trained_weights import load_trained_weights, trained_weights


class TrainableModel(nn.Module):
    """A module whose trained weights are known by name. Rows of token ids in, one row of numbers each out, no dropout.

    `base_hash` is over the weights it began with, `padding` counts what was computed in vain.
    """

    def __init__(self, *, base_hash: str) -> None:
        super().__init__()
        self.base_hash = base_hash
        self.padding = PaddingCount()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def batch_tokens(self) -> int:
        """Tokens that go through the model together: on a CPU few, so that activations stay in its caches."""
        return 4096 if self.device.type == "cpu" else 65_536

    def trained_weights(self) -> dict[str, Tensor]:
        """The weights that training changes, by name; not copies."""
        return trained_weights(self)

    def load_trained_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what `trained_weights` gave; raises InputError for those of another model."""
        load_trained_weights(self, weights)
