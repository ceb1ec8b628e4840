"""Cross-entropy of a language model's last layer, without ever holding the logits of all tokens.

Logits of 8,192 tokens over 16,000 entries take half a gigabyte in float32. Here a few hundred tokens are taken at a
time, and their share of the gradients is computed at once, while their logits are there (as Liger Kernel's fused linear
cross-entropy does, arXiv 2410.10989): nothing is computed twice.
"""

from typing import Any

import torch
from torch import Tensor

_CHUNK = 512


def token_losses(
    states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, token_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """The weighted sum of -log p, with gradients, and -log p of each token (n,) in nats, without.

    `states` (n, width) go through `weight` (entries, width) and `bias` (entries,), multiplied in the dtype of autocast
    where it is on; `targets` (n,) are ids, `token_weights` (n,) float32. Everything after the product is float32.
    """
    device = states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
    with torch.autocast(device, enabled=False):
        total, each = _LinearCrossEntropy.apply(states, weight, bias, targets, token_weights, dtype)
    return total, each


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        token_weights: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """Losses, and the gradients where they are needed."""
        learns = any(ctx.needs_input_grad[:3])
        narrow = weight.to(dtype)
        each = torch.empty(len(states), dtype=torch.float32, device=states.device)
        at_states = torch.empty_like(states) if learns else None
        at_weight = torch.zeros_like(weight, dtype=torch.float32) if learns else None
        at_bias = torch.zeros_like(bias, dtype=torch.float32) if learns and bias is not None else None
        # One memory for all chunks, and everything in place: fresh pages cost more than the arithmetic.
        size = min(_CHUNK, len(states))
        products = torch.empty((size, len(weight)), dtype=dtype, device=states.device)
        wide = torch.empty((size, len(weight)), dtype=torch.float32, device=states.device)
        for start in range(0, len(states), _CHUNK):
            part = slice(start, start + _CHUNK)
            read, wanted = states[part].to(dtype), targets[part].unsqueeze(1)
            product = torch.mm(read, narrow.T, out=products[: len(read)])
            logits = wide[: len(read)].copy_(product)
            if bias is not None:
                logits += bias
            logits -= logits.amax(1, keepdim=True)
            chosen = logits.gather(1, wanted)
            sums = logits.exp_().sum(1, keepdim=True)
            each[part] = (sums.log() - chosen).squeeze(1)
            if at_states is None or at_weight is None:
                continue
            scale = token_weights[part].unsqueeze(1)
            logits *= scale / sums
            logits.scatter_add_(1, wanted, -scale)
            if at_bias is not None:
                at_bias += logits.sum(0)
            at_logits = product.copy_(logits)
            at_states[part] = at_logits @ narrow
            at_weight += at_logits.T @ read
        ctx.gradients = (at_states, at_weight, at_bias)
        ctx.mark_non_differentiable(each)
        return (each * token_weights).sum(), each

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """The gradients that were made, times the one that came."""
        return *(None if made is None else made * gradients[0] for made in ctx.gradients), None, None, None
