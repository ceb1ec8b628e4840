"""Attention over packed sequences: every token attends to its own text only, and no padding is computed.

Texts lie behind one another in one row of tokens, sorted by length. On CUDA in half precision they go through the
variable-length kernel; elsewhere, texts of equal length are one dense batch, which is a view of the row and no copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

PACKED = "rag_embedder_packed"
"""The name under which transformers finds this attention."""


@dataclass(frozen=True, slots=True)
class Span:
    """`count` texts of `length` tokens each, the first token of the first one at `start`."""

    start: int
    count: int
    length: int

    @property
    def stop(self) -> int:
        """One after the last token."""
        return self.start + self.count * self.length


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the texts of one row are: spans of equal length, in order, and the same as offsets for CUDA kernels.

    `offsets` has shape (texts + 1,), int32.
    """

    spans: tuple[Span, ...]
    offsets: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Packing":
        """The packing of texts in this order; neighbours of one length share a span."""
        spans: list[Span] = []
        start = 0
        for length in lengths:
            if spans and spans[-1].length == length:
                spans[-1] = Span(spans[-1].start, spans[-1].count + 1, length)
            else:
                spans.append(Span(start, 1, length))
            start += length
        offsets = torch.tensor([0, *lengths]).cumsum(0).to(device=device, dtype=torch.int32)
        return cls(tuple(spans), offsets, max(lengths))


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,  # noqa: ANN401  (transformers passes what any attention may want)
) -> tuple[Tensor, None]:
    """Attention in the form transformers calls it: query, key, value (1, heads, tokens, head dim).

    Returns (1, tokens, heads, head dim). There is no mask: the packing is the mask.
    """
    del module, attention_mask
    rows = [tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value)]  # (tokens, heads, head dim)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (row.contiguous() for row in rows)
        offsets, longest = packing.offsets, packing.longest
        out = varlen_attn(q, k, v, offsets, offsets, longest, longest, scale=scaling)
        assert isinstance(out, Tensor)
        return out.unsqueeze(0), None
    parts = []
    for span in packing.spans:
        q, k, v = (row[span.start : span.stop].unflatten(0, (span.count, span.length)).transpose(1, 2) for row in rows)
        part = scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        parts.append(part.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts).unsqueeze(0), None


AttentionInterface.register(PACKED, packed_attention)
