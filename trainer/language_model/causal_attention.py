"""Causal attention over full rows: every token attends to itself and all before it in its row."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from trainer.packed_attention import attention_gradients, future_mask

CAUSAL = "rag_embedder_causal"
"""The name under which transformers finds this attention."""


def causal_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **_: Any,  # noqa: ANN401  (transformers passes what any attention may want)
) -> tuple[Tensor, None]:
    """Attention in the form transformers calls it: three tensors (rows, heads, tokens, head dim), without a cache.

    Returns (rows, tokens, heads, head dim). There is no mask and no dropout: rows are full.
    """
    del module, attention_mask
    # Rotary positions come in float32 and widen what they turn.
    query, key = query.to(value.dtype), key.to(value.dtype)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu" and query.dtype != torch.float32:
        out = _HalfPrecisionCausal.apply(query, key, value, scale)
        assert isinstance(out, Tensor)
    else:
        out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    return out.transpose(1, 2).contiguous(), None


class _HalfPrecisionCausal(torch.autograd.Function):
    """Fused forward, backward of plain products: on a CPU several times as fast in half precision."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:  # noqa: ANN401
        """(rows, heads, tokens, head dim) in and out."""
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """The gradients at query, key and value."""
        rows, heads, length, _ = gradients[0].shape
        flat = [tensor.flatten(0, 1) for tensor in (*ctx.saved_tensors, gradients[0])]
        mask = future_mask(length, flat[0].dtype, flat[0].device)
        parts = attention_gradients(*flat, scale=ctx.scale, mask=mask)
        return *(part.unflatten(0, (rows, heads)) for part in parts), None


AttentionInterface.register(CAUSAL, causal_attention)
