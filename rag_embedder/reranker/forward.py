"""One padded batch of pairs through a model with one output."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification


def is_decoder(model: PreTrainedModel) -> bool:
    """Whether the score is read at the last token, as Llama, Mistral, Qwen and their like do."""
    return isinstance(model, GenericForSequenceClassification)


def pair_logits(model: PreTrainedModel, rows: Sequence[Sequence[int]], types: Sequence[list[int]] | None) -> Tensor:
    """The score of every row of token ids, shape (n,), float32; rows are padded on the right, whatever their files say.

    A decoder's is its score head at the last token of each row (RankLLaMA, arXiv 2310.08319), found by length and not
    by the padding id: where that is also the end token, transformers would read the token before. It sees nothing to
    its right, so padding there changes nothing.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    inputs = {
        "input_ids": _padded(rows, width, int(model.config.pad_token_id or 0)).to(device),
        "attention_mask": (torch.arange(width) < lengths.unsqueeze(1)).long().to(device),
    }
    if types is not None:
        inputs["token_type_ids"] = _padded(types, width, 0).to(device)
    if not is_decoder(model):
        return model(**inputs).logits[:, 0].float()
    states = model.base_model(**inputs, use_cache=False).last_hidden_state
    last = states[torch.arange(len(rows), device=device), (lengths - 1).to(device)]
    return model.score(last)[:, 0].float()  # pyright: ignore[reportCallIssue]


def _padded(rows: Sequence[Sequence[int]], width: int, pad: int) -> Tensor:
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
