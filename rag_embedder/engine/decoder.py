"""The forward pass of Llama and its kin (Touvron et al. 2023) over packed tokens: their own layers, our attention."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from rag_embedder.engine.packing import Packing, attend

_ATTENTION = "rag_embedder_packed_decoder"


class PackedDecoder:
    """A loaded decoder whose texts lie behind one another in one row; every text has positions of its own."""

    def __init__(self, model: PreTrainedModel, *, device: torch.device, dtype: torch.dtype) -> None:
        nn.Module.to(model, device=device, dtype=dtype)
        model.set_attn_implementation(_ATTENTION)
        self.device = device
        self.dtype = dtype
        self._model = model

    def states(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Packing]:
        """Last states (tokens, dim) of the texts behind one another, and where each is; equal lengths best together."""
        lengths = [len(ids) for ids in token_ids]
        packing = Packing.of(lengths, self.device)
        flat = torch.tensor([list(chain.from_iterable(token_ids))], device=self.device)
        positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0).to(self.device)
        states = self._model(input_ids=flat, position_ids=positions, packing=packing).last_hidden_state
        return states.squeeze(0), packing


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,  # noqa: ANN401  (transformers passes what any attention may want)
) -> tuple[Tensor, None]:
    """Attention in the form transformers calls it: query, key, value (1, heads, tokens, head dim).

    Returns (1, tokens, heads, head dim). There is no mask: the packing is the mask.
    """
    del module, attention_mask
    sharing = query.shape[1] // key.shape[1]
    # Rotary positions may come in float32 and widen what they turn.
    parts = (query, *(part.repeat_interleave(sharing, dim=1) for part in (key, value)))
    row = torch.stack([part.squeeze(0).transpose(0, 1).to(value.dtype) for part in parts], dim=1)
    out = attend(row, packing, is_causal=True, window=sliding_window, scale=scaling)
    return out.unflatten(1, (query.shape[1], -1)).unsqueeze(0), None


AttentionInterface.register(_ATTENTION, _attention)
