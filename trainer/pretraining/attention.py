"""Attention of joint passes: causal inside of a sequence, and the NEXT prompt does not see the SELF prompt.

Sequences of one shape are one dense batch, which is a view of the row; the NEXT prompt's few queries go through a
product of their own, over the text's keys and their own. So no mask over the row is ever made, and nothing is computed
for a pair of tokens that may not see each other, but for causality.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from trainer.language_model.causal_attention import causal_product
from trainer.pretraining.layout import Span

JOINT = "rag_embedder_joint"
"""The name under which transformers finds this attention."""


def joint_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    spans: Sequence[Span],
    scaling: float | None = None,
    **_: Any,  # noqa: ANN401  (transformers passes what any attention may want)
) -> tuple[Tensor, None]:
    """Attention in the form transformers calls it: query, key, value (1, heads, tokens, head dim), without a cache.

    Returns (1, tokens, heads, head dim). There is no mask and no dropout: `spans` is the mask. Keys and values may
    have fewer heads than queries, each serving as many of them in turn (grouped queries).
    """
    del module, attention_mask
    # Rotary positions come in float32 and widen what they turn.
    rows = [tensor.squeeze(0).transpose(0, 1).to(value.dtype) for tensor in (query, key, value)]
    groups = query.shape[1] // key.shape[1]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # Split and not sliced: the gradient of each slice would be as long as the row.
    sizes = [span.num_tokens for span in spans]
    parts = []
    for span, *texts in zip(spans, *(row.split(sizes) for row in rows), strict=True):
        q, k, v = (text.unflatten(0, (span.count, span.shape.length)).transpose(1, 2) for text in texts)
        if groups > 1:
            k, v = (tensor.repeat_interleave(groups, dim=1) for tensor in (k, v))
        parts.append(_span_attention(q, k, v, span, scale).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts).unsqueeze(0), None


def _span_attention(query: Tensor, key: Tensor, value: Tensor, span: Span, scale: float) -> Tensor:
    """All of (sequences, heads, length, head dim)."""
    shape = span.shape
    if not (shape.own and shape.following):
        return causal_product(query, key, value, scale=scale)
    sizes = [shape.shared + shape.own, shape.following]
    (q_first, q_next), (k_first, k_next), (v_first, v_next) = (
        tensor.split(sizes, dim=2) for tensor in (query, key, value)
    )
    first = causal_product(q_first, k_first, v_first, scale=scale)
    keys, values = (
        torch.cat([begin[:, :, : shape.shared], end], 2) for begin, end in ((k_first, k_next), (v_first, v_next))
    )
    return torch.cat([first, causal_product(q_next, keys, values, scale=scale)], 2)


AttentionInterface.register(JOINT, joint_attention)
