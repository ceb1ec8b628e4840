"""Token states to one vector per text: pure tensor functions."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Pooling = Callable[[Tensor, Tensor], Tensor]
"""(states (batch, tokens, dim), mask (batch, tokens) of 0 and 1, right-padded) -> (batch, dim)."""


def cls(states: Tensor, mask: Tensor) -> Tensor:
    """The state of the first token; `mask` is not needed."""
    del mask
    return states[:, 0]


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over the tokens that are not padding."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def last(states: Tensor, mask: Tensor) -> Tensor:
    """The state of the last token that is not padding."""
    last_positions = mask.sum(dim=1).long() - 1
    return states[torch.arange(states.shape[0], device=states.device), last_positions]


POOLINGS: Mapping[str, Pooling] = {"cls": cls, "mean": mean, "last": last}
