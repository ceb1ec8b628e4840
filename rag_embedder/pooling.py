"""Token states to one vector per text: pure tensor functions."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Pooling = Callable[[Tensor, Tensor], Tensor]
"""(states (batch, tokens, dim), mask (batch, tokens) of 0 and 1) -> (batch, dim); "cls" needs padding on the right."""


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
    return states[torch.arange(states.shape[0], device=states.device), _last_positions(mask)]


def mean_of_last(count: int) -> Pooling:
    """The mean over the last `count` tokens that are not padding: a decoder's slots (LLaRA, arXiv 2312.15503)."""

    def pool(states: Tensor, mask: Tensor) -> Tensor:
        slots = _last_positions(mask).unsqueeze(1) - torch.arange(count, device=states.device)
        return states[torch.arange(states.shape[0], device=states.device).unsqueeze(1), slots].float().mean(dim=1)

    return pool


def pooling_named(name: str, *, num_slots: int = 1) -> Pooling:
    """The pooling of that name; with several slots, the mean over so many last tokens."""
    return POOLINGS[name] if num_slots == 1 else mean_of_last(num_slots)


def _last_positions(mask: Tensor) -> Tensor:
    """Of the last 1 in every row, whichever side is padded, (batch,)."""
    return (mask.long() * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)


POOLINGS: Mapping[str, Pooling] = {"cls": cls, "mean": mean, "last": last}
