"""From rewards to the weight of each candidate: softmax with a temperature, copies and unscored queries left out."""

import torch
from torch import Tensor

from rag_embedder.errors import InputError


def required_rewards(rewards: Tensor | None, name: str) -> Tensor:
    """The rewards (B, G), in float32 or better.

    Raises:
        InputError: if there are none.
    """
    if rewards is None:
        raise InputError(f"{name} needs rewards and the data has none; score it first, or fit it with loss contrastive")
    return rewards.to(torch.promote_types(rewards.dtype, torch.float32))


def reward_weights(rewards: Tensor, kept: Tensor, *, temperature: float) -> Tensor:
    """softmax(rewards / temperature) over the kept slots, (B, G); 0 in the others.

    `kept` (B, G) bool is False for a copy of an earlier candidate. A row without rewards, all NaN, gets weight 0
    throughout: it distils nothing. A single NaN among numbers stays NaN, for the run to stop at.
    """
    unscored = rewards.isnan().all(dim=1, keepdim=True)
    logits = torch.where(unscored, 0.0, rewards / temperature).masked_fill(~kept, -torch.inf)
    return logits.softmax(dim=1).masked_fill(unscored, 0.0)
