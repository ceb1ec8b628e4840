"""One pass of a Hugging Face causal language model over rows of different lengths.

Rows are padded on the left: a cache and what follows it are then adjacent, so that models with sliding windows see
the same distances as without padding. Masks come from the lengths, never from comparing ids with the padding id,
which is often the end token and may be part of the text.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel


@dataclass(frozen=True, slots=True)
class Pass:
    """`logits` (rows, kept positions, vocabulary) in float32, and the cache if it was asked for."""

    logits: Tensor
    cache: Cache | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Padded rows: `ids` (rows, width); `mask` covers the cache too, (rows, cached + width); `positions` as `ids`."""

    ids: Tensor
    mask: Tensor
    positions: Tensor


class CausalForward:
    """The model on its device. Logits are computed in float32 whatever the weights are held in."""

    def __init__(self, model: PreTrainedModel, device: torch.device) -> None:
        parameters = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._cuts_logits = "logits_to_keep" in parameters
        self._model = model.eval()
        self.device = device
        _widen_head(model)

    def __call__(self, rows: Rows, *, keep: int, cache: Cache | None = None, use_cache: bool = False) -> Pass:
        """Logits of the last `keep` columns."""
        options: dict[str, object] = {"use_cache": use_cache or cache is not None}
        if self._takes_positions:
            options["position_ids"] = rows.positions
        if self._cuts_logits:
            options["logits_to_keep"] = keep
        if cache is not None:
            options["past_key_values"] = cache
        with torch.inference_mode():
            answer = self._model(input_ids=rows.ids, attention_mask=rows.mask, **options)
            return Pass(answer.logits[:, -keep:].float(), answer.past_key_values if use_cache else None)

    def left_padded(self, rows: Sequence[Sequence[int]]) -> Rows:
        """Rows that end in the same column."""
        width = max(map(len, rows))
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for row, content in enumerate(rows):
            ids[row, width - len(content) :] = torch.tensor(content)
            mask[row, width - len(content) :] = 1
        return self._placed(ids, mask, (mask.cumsum(1) - 1).clamp(min=0))

    def following(self, before: Tensor, rows: Sequence[Sequence[int]]) -> Rows:
        """Rows that go on from a cache whose mask was `before` (rows, cached); they are padded on the right."""
        width = max(map(len, rows))
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for row, content in enumerate(rows):
            ids[row, : len(content)] = torch.tensor(content)
            mask[row, : len(content)] = 1
        before = before.cpu()
        positions = before.sum(1, keepdim=True) + torch.arange(width)
        positions = torch.where(mask == 1, positions, torch.zeros_like(positions))
        return self._placed(ids, torch.cat([before, mask], dim=1), positions)

    def _placed(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Rows:
        return Rows(ids.to(self.device), mask.to(self.device), positions.to(self.device))


def selected(cache: Cache, rows: Tensor) -> Cache:
    """A cache of these rows, repeated as they repeat; the given one stays as it is."""
    # Layers replace their tensors and never write into them, so copying the objects that hold them is enough.
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(rows)
    return chosen


def _widen_head(model: PreTrainedModel) -> None:
    """Let the last layer work in float32: in bfloat16, logits near 16 lie 1/8 apart, and so would the scores."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or head.weight.dtype == torch.float32:
        return
    # A parameter of its own: the weight is often shared with the input embeddings, which stay narrow.
    head.weight = nn.Parameter(head.weight.detach().float(), requires_grad=False)
    if head.bias is not None:
        head.bias = nn.Parameter(head.bias.detach().float(), requires_grad=False)
    head.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
