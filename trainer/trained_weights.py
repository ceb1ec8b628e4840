"""The weights that training changes, by name: taken for a checkpoint, and put back."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rag_embedder.errors import InputError


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Those that have gradients; not copies."""
    return {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def load_trained_weights(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Put back what `trained_weights` gave.

    Raises:
        InputError: if the names or shapes are not those of the weights that are trained here.
    """
    own = trained_weights(model)
    if {name: weight.shape for name, weight in own.items()} != {name: each.shape for name, each in saved.items()}:
        raise InputError(
            f"{len(saved)} trained weights came, with other names or shapes than the {len(own)} expected ones; use the "
            "model settings (base, lora_rank) of the run that wrote them."
        )
    for name, weight in own.items():
        weight.copy_(saved[name])
