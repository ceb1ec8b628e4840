"""What the training loop needs of a model, whatever it is trained to do."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rag_embedder.errors import InputError
from trainer.token_batches import PaddingCount


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
        return {name: weight.detach() for name, weight in self.named_parameters() if weight.requires_grad}

    @torch.no_grad()
    def load_trained_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what `trained_weights` gave.

        Raises:
            InputError: if the names or shapes are not those of the weights that are trained here.
        """
        own = self.trained_weights()
        shapes = {name: tuple(weight.shape) for name, weight in own.items()}
        if shapes != {name: tuple(weight.shape) for name, weight in weights.items()}:
            raise InputError(
                f"{len(weights)} trained weights came, with other names or shapes than the {len(own)} expected ones; "
                "use the model settings (base, lora_rank) of the run that wrote them."
            )
        for name, weight in own.items():
            weight.copy_(weights[name])
