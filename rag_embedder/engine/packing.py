"""Texts behind one another in one row of tokens, and attention that stays inside each of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True, slots=True)
class Span:
    """`count` texts of `length` tokens each, the first token of the first one at `start`.

    Of texts that were filled up, `own` (count,) has how many tokens are theirs; None: all of all.
    """

    start: int
    count: int
    length: int
    own: Tensor | None = None

    @property
    def stop(self) -> int:
        """One after the last token."""
        return self.start + self.count * self.length

    def texts(self, row: Tensor) -> Tensor:
        """A view of this part of (tokens, ...) as (count, length, ...)."""
        return row[self.start : self.stop].unflatten(0, (self.count, self.length))

    def is_own(self, device: torch.device) -> Tensor:
        """Which tokens (count, length) belong to their text, bool."""
        if self.own is None:
            return torch.ones(self.count, self.length, dtype=torch.bool, device=device)
        return torch.arange(self.length, device=device) < self.own.to(device).unsqueeze(1)


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the texts of one row are: spans of equal length, in order, and the same as offsets for CUDA kernels.

    `offsets` has shape (texts + 1,), int32. `masks` has for each span what is added to the scores of its keys, (count,
    1, 1, length), or None where nothing is.
    """

    spans: tuple[Span, ...]
    offsets: Tensor
    longest: int
    masks: tuple[Tensor | None, ...] = ()

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
        return cls(tuple(spans), offsets, max(lengths), (None,) * len(spans))

    @classmethod
    def filled_up(cls, lengths: Sequence[int], device: torch.device, dtype: torch.dtype) -> "Packing":
        """The packing of texts that are filled up to `filled_length`, neighbours of one such length in one span."""
        exact = cls.of([filled_length(length) for length in lengths], device)
        spans, masks, first = [], [], 0
        for span in exact.spans:
            own = lengths[first : first + span.count]
            first += span.count
            if min(own) == span.length:
                spans.append(span)
                masks.append(None)
                continue
            spans.append(replace(span, own=torch.tensor(own)))
            is_foreign = ~spans[-1].is_own(device)
            mask = torch.zeros(is_foreign.shape, dtype=dtype, device=device).masked_fill_(is_foreign, -torch.inf)
            masks.append(mask[:, None, None, :])
        return cls(tuple(spans), exact.offsets, exact.longest, tuple(masks))


def filled_length(length: int) -> int:
    """The next multiple of 16 if that is at most a sixth more, else the length itself.

    On a CPU, attention over 127 tokens takes twice as long as over 128: what is left over of a row of scores when it is
    divided by the vector width is computed one by one. Everything else costs what is filled up, about 4 % of a passage.
    """
    filled = -(-length // _VECTOR) * _VECTOR
    return filled if (filled - length) * 6 <= length else length


_VECTOR = 16
"""Scores that the CPU computes at once."""


def attend(
    row: Tensor, packing: Packing, *, is_causal: bool = False, window: int | None = None, scale: float | None = None
) -> Tensor:
    """Every token attends to its own text: queries, keys and values (tokens, 3, heads, head dim) in.

    With `is_causal`, a decoder's, to itself and what comes before, and to no more than `window` tokens. `scale`
    multiplies the scores, one over the root of the head dim if it is None.

    Returns (tokens, heads * head dim). Texts of one length are one dense batch, a view of the row without a mask; on
    CUDA in half precision all texts go through the variable-length kernel at once.
    """
    if row.is_cuda and row.dtype != torch.float32:
        from torch.nn.attention.varlen import varlen_attn

        query, key, value = (part.contiguous() for part in row.unbind(1))
        offsets, longest = packing.offsets, packing.longest
        seen = (-1 if window is None else window - 1, 0) if is_causal else (-1, -1)
        out = varlen_attn(query, key, value, offsets, offsets, longest, longest, scale=scale, window_size=seen)
        assert isinstance(out, Tensor)
        return out.flatten(1)
    out = row.new_empty(row.shape[0], *row.shape[2:])
    for span, added in zip(packing.spans, packing.masks, strict=True):
        query, key, value = span.texts(row).permute(2, 0, 3, 1, 4)  # each (count, heads, length, head dim)
        mask = None if window is None or window >= span.length else _in_window(span.length, window, row.device)
        part = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask if is_causal else added,
            is_causal=is_causal and mask is None,
            scale=scale,
        )
        span.texts(out).copy_(part.transpose(1, 2))
    return out.flatten(1)


def _in_window(length: int, window: int, device: torch.device) -> Tensor:
    """Which tokens (length, length) each may attend to: itself and those before it, `window` in all."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)
