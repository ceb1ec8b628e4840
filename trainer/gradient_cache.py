"""Batches larger than memory: gradients of the whole batch from one chunk of texts at a time.

Gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"): encode
all texts without a graph, take the loss's gradient at the vectors, then encode chunk by chunk again and pass it on.
Exact, for twice the forward work; it needs an encoder without dropout.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Encode = Callable[[Sequence[Sequence[int]]], Tensor]
"""Token ids of n texts -> rows (n, dim)."""


def backward(
    encode: Encode, token_ids: Sequence[Sequence[int]], loss_of: Callable[[Tensor], Tensor], *, chunk: int
) -> Tensor:
    """Add the gradients of `loss_of(encode(token_ids))` to the weights; returns the loss, shape (), detached.

    At most `chunk` texts are in memory with their graph; 0 takes all at once.
    """
    if not chunk or chunk >= len(token_ids):
        loss = loss_of(encode(token_ids))
        loss.backward()
        return loss.detach()
    # Neighbours of like length, so that a chunk needs little padding; equal texts meet and are encoded once.
    order = sorted(range(len(token_ids)), key=lambda place: (-len(token_ids[place]), token_ids[place]))
    chunks = [order[start : start + chunk] for start in range(0, len(order), chunk)]
    with torch.no_grad():
        rows = torch.cat([encode([token_ids[place] for place in places]) for places in chunks])
    inverse = torch.empty(len(order), dtype=torch.long)
    inverse[torch.tensor(order)] = torch.arange(len(order))
    vectors = rows[inverse.to(rows.device)].requires_grad_()
    loss = loss_of(vectors)
    loss.backward()
    gradient = vectors.grad
    assert gradient is not None
    for places in chunks:
        part = gradient[torch.tensor(places, device=gradient.device)]
        encode([token_ids[place] for place in places]).backward(part)
    return loss.detach()
