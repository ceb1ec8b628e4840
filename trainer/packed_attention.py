"""Attention over packed sequences: every token attends to its own text only, and no padding is computed.

With `is_causal`, as decoders need it, to itself and what comes before it in its text.

Texts lie behind one another in one row of tokens, sorted by length. On CUDA in half precision they go through the
variable-length kernel; elsewhere, texts of equal length are one dense batch, which is a view of the row and no copy.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rag_embedder.engine.packing import Packing, Span

PACKED = "rag_embedder_packed"
"""The name under which transformers finds this attention."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    is_causal: bool = False,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,  # noqa: ANN401  (transformers passes what any attention may want)
) -> tuple[Tensor, None]:
    """Attention in the form transformers calls it: query, key, value (1, heads, tokens, head dim).

    Key and value may have fewer heads, each for several neighbours among the query's. Returns (1, tokens, heads, head
    dim). There is no mask: the packing is the mask.
    """
    del module, attention_mask
    # Rotary positions come in float32 and widen what they turn.
    query, key = query.to(value.dtype), key.to(value.dtype)
    sharing = query.shape[1] // key.shape[1]
    if sharing > 1:
        key, value = key.repeat_interleave(sharing, dim=1), value.repeat_interleave(sharing, dim=1)
    rows = [tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value)]  # (tokens, heads, head dim)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (row.contiguous() for row in rows)
        offsets, longest = packing.offsets, packing.longest
        window = (-1, 0) if is_causal else (-1, -1)
        out = varlen_attn(q, k, v, offsets, offsets, longest, longest, scale=scaling, window_size=window)
        assert isinstance(out, Tensor)
        return out.unsqueeze(0), None
    if query.device.type == "cpu" and query.dtype != torch.float32 and not dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        out = _HalfPrecisionAttention.apply(*rows, packing.spans, scale, is_causal)
        assert isinstance(out, Tensor)
        return out.unsqueeze(0), None
    # Split and not sliced: the gradient of each slice would be as long as the row.
    sizes = [span.stop - span.start for span in packing.spans]
    parts = []
    for span, *texts in zip(packing.spans, *(row.split(sizes) for row in rows), strict=True):
        q, k, v = (_by_head(text, span) for text in texts)
        part = scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling, is_causal=is_causal)
        parts.append(part.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts).unsqueeze(0), None


class _HalfPrecisionAttention(torch.autograd.Function):
    """Fused forward; a backward of plain products over all texts and heads of a span, with the weights made again.

    On a CPU the fused backward of torch 2.13 takes several times as long in half precision as these products.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query: Tensor,
        key: Tensor,
        value: Tensor,
        spans: Sequence[Span],
        scale: float,
        is_causal: bool,
    ) -> Tensor:
        """Three rows (tokens, heads, head dim) in, one out."""
        ctx.save_for_backward(query, key, value)
        ctx.spans, ctx.scale, ctx.is_causal = spans, scale, is_causal
        out = query.new_empty(query.shape)
        for span in spans:
            q, k, v = (_by_head(row[span.start : span.stop], span) for row in (query, key, value))
            part = scaled_dot_product_attention(q, k, v, scale=scale, is_causal=is_causal)
            _by_head(out[span.start : span.stop], span).copy_(part)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """The gradients at the three rows."""
        rows = (*ctx.saved_tensors, *gradients)
        found = [row.new_empty(row.shape) for row in ctx.saved_tensors]
        for span in ctx.spans:
            place = slice(span.start, span.stop)
            q, k, v, gradient = (_by_head(row[place], span).flatten(0, 1) for row in rows)
            mask = future_mask(span.length, q.dtype, q.device) if ctx.is_causal else None
            parts = attention_gradients(q, k, v, gradient, scale=ctx.scale, mask=mask)
            for row, part in zip(found, parts, strict=True):
                _by_head(row[place], span).copy_(part.unflatten(0, (span.count, -1)))
        return *found, None, None, None


def attention_gradients(
    query: Tensor, key: Tensor, value: Tensor, gradient: Tensor, *, scale: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients at query, key and value from the one at the output, all (n, length, head dim), in plain products.

    `mask` (length, length) is added to the scores.
    """
    beta = 0 if mask is None else 1
    start = query.new_empty(1) if mask is None else mask
    weights = torch.baddbmm(start, query, key.transpose(1, 2), beta=beta, alpha=scale).softmax(-1)
    at_weights = torch.bmm(gradient, value.transpose(1, 2))
    at_scores = torch.ops.aten._softmax_backward_data(at_weights, weights, -1, weights.dtype) * scale
    return (
        torch.bmm(at_scores, key),
        torch.bmm(at_scores.transpose(1, 2), query),
        torch.bmm(weights.transpose(1, 2), gradient),
    )


@lru_cache(maxsize=8)
def future_mask(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the scores (length, length): minus infinity for tokens that come later."""
    return torch.full((length, length), -torch.inf, dtype=dtype, device=device).triu(1)


def _by_head(row: Tensor, span: Span) -> Tensor:
    """A view of (tokens, heads, head dim) as (texts, heads, length, head dim)."""
    return row.unflatten(0, (span.count, span.length)).transpose(1, 2)


AttentionInterface.register(PACKED, packed_attention)
