"""Texts behind one another in one row of tokens, and attention that stays inside each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


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

    def texts(self, row: Tensor) -> Tensor:
        """A view of this part of (tokens, ...) as (count, length, ...)."""
        return row[self.start : self.stop].unflatten(0, (self.count, self.length))


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


def attend(row: Tensor, packing: Packing) -> Tensor:
    """Every token attends to its own text: queries, keys and values (tokens, 3, heads, head dim) in.

    Returns (tokens, heads * head dim). Texts of one length are one dense batch, a view of the row without a mask; on
    CUDA in half precision all texts go through the variable-length kernel at once.
    """
    if row.is_cuda and row.dtype != torch.float32:
        from torch.nn.attention.varlen import varlen_attn

        query, key, value = (part.contiguous() for part in row.unbind(1))
        offsets, longest = packing.offsets, packing.longest
        out = varlen_attn(query, key, value, offsets, offsets, longest, longest)
        assert isinstance(out, Tensor)
        return out.flatten(1)
    out = row.new_empty(row.shape[0], *row.shape[2:])
    for span in packing.spans:
        query, key, value = span.texts(row).permute(2, 0, 3, 1, 4)  # each (count, heads, length, head dim)
        span.texts(out).copy_(scaled_dot_product_attention(query, key, value).transpose(1, 2))
    return out.flatten(1)
