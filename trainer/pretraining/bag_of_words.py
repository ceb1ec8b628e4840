"""The loss that makes one vector predict a set of words, without ever holding the logits of all vectors.

L(e, T) = -(1/|T|) sum_{t in T} log softmax(z)_t (Llama2Vec, equations 3 and 5), z the logits at the vector's slots; of
several slots, the largest of each entry (the released code) or, given their mean as one slot, those of the mean. A few
vectors are taken at a time, and their share of the gradients is computed at once, while their logits are there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.language_model.documents import Ids

_CHUNK_LOGITS = 1 << 23
"""Logits that are held at a time: 32 MB in float32."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last layer: `weight` (entries, width), and `bias` (entries,) where there is one."""

    weight: Tensor
    bias: Tensor | None = None


def bag_losses(states: Tensor, head: Head, targets: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """The sum of L(e, T) over vectors, with gradients, and each (n,) in nats, without.

    `states` (n, slots, width) are multiplied in the dtype of autocast where it is on; all that follows the product is
    float32. `targets` are n sets of ids, none empty.
    """
    device = states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
    rows, ids, shares = _flat(targets, states.device)
    with torch.autocast(device, enabled=False):
        total, each = _BagOfWords.apply(states, head.weight, head.bias, rows, ids, shares, dtype)
    return total, each


@torch.no_grad()
def bag_recalls(states: Tensor, head: Head, targets: Sequence[Ids]) -> Tensor:
    """For each vector (n,), the share of its target ids among the |T| likeliest entries."""
    found = []
    narrow = head.weight.to(states.dtype)
    for part in _chunks(len(states), states.shape[1] * len(narrow)):
        logits = _logits(states[part], narrow, head.bias)[0]
        wanted = targets[part]
        best = logits.topk(max(len(each) for each in wanted), dim=1).indices.cpu().numpy()
        found += [np.isin(each, row[: len(each)]).mean() for each, row in zip(wanted, best, strict=True)]
    return torch.tensor(np.array(found, dtype=np.float32))


class _BagOfWords(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor,
        ids: Tensor,
        shares: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """Losses, and the gradients where they are needed; target `ids` (m,) of vector `rows` (m,), rising."""
        at_states = torch.empty_like(states) if any(ctx.needs_input_grad[:3]) else None
        at_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        at_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and ctx.needs_input_grad[2] else None
        narrow = weight.to(dtype)
        each = torch.empty(len(states), dtype=torch.float32, device=states.device)
        for part in _chunks(len(states), states.shape[1] * len(weight)):
            read = states[part].to(dtype)
            logits, slots = _logits(read, narrow, bias)
            first, last = torch.searchsorted(rows, torch.tensor([part.start, part.stop], device=rows.device)).tolist()
            own, entries, parts = rows[first:last] - part.start, ids[first:last], shares[first:last]
            sums = logits.logsumexp(1)
            chosen = torch.zeros_like(sums).index_add_(0, own, logits[own, entries] * parts)
            each[part] = sums - chosen
            if at_states is None:
                continue
            gradient = logits.sub_(sums.unsqueeze(1)).exp_()
            gradient.index_put_((own, entries), -parts, accumulate=True)
            at_logits = _to_slots(gradient, slots, read.shape[1])
            if at_bias is not None:
                at_bias += at_logits.sum((0, 1))
            at_logits = at_logits.to(dtype).flatten(0, 1)
            at_states[part] = (at_logits @ narrow).unflatten(0, read.shape[:2])
            if at_weight is not None:
                at_weight += at_logits.T @ read.flatten(0, 1)
        ctx.gradients = (at_states, at_weight, at_bias)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """The gradients that were made, times the one that came."""
        return *(None if made is None else made * gradients[0] for made in ctx.gradients), None, None, None, None


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Logits (n, entries) in float32, and of several slots which one each is from."""
    logits = (states @ weight.T).float()
    if bias is not None:
        logits += bias
    if states.shape[1] == 1:
        return logits.squeeze(1), None
    largest, slots = logits.max(1)
    return largest, slots


def _to_slots(gradient: Tensor, slots: Tensor | None, num_slots: int) -> Tensor:
    """(n, entries) to (n, slots, entries): each entry's gradient goes to the slot that it was from."""
    if slots is None:
        return gradient.unsqueeze(1)
    at_slots = gradient.new_zeros((len(gradient), num_slots, gradient.shape[1]))
    return at_slots.scatter_(1, slots.unsqueeze(1), gradient.unsqueeze(1))


def _chunks(count: int, logits_each: int) -> Iterator[slice]:
    size = max(1, _CHUNK_LOGITS // logits_each)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _flat(targets: Sequence[Ids], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Row, id and share 1/|T| of every target."""
    sizes = torch.tensor([len(each) for each in targets])
    rows = torch.arange(len(targets)).repeat_interleave(sizes)
    ids = torch.from_numpy(np.concatenate(targets)).long()
    return rows.to(device), ids.to(device), (1 / sizes.float())[rows].to(device)
