"""Slot tokens of a prompt form: added to a tokenizer, and to the embeddings of a model."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerFast

from rag_embedder.prompt_form import EOS, PromptForm

_NOISE = 0.1
"""Of the standard deviation of each dimension."""


def add_slots(tokenizer: PreTrainedTokenizerFast, form: PromptForm) -> list[int]:
    """Add the form's slots that the tokenizer does not have as special tokens; returns the ids that are new."""
    wanted = dict.fromkeys(slot for prompt in (form.document, form.query) for slot in prompt.slots if slot != EOS)
    known = tokenizer.get_vocab()
    missing = [slot for slot in wanted if slot not in known]
    # Not normalised: a tokenizer that lowers or strips must find them as they are written.
    tokens: list[str | AddedToken] = [AddedToken(slot, special=True, normalized=False) for slot in missing]
    tokenizer.add_tokens(tokens, special_tokens=True)
    return _ids(tokenizer, missing)


def slot_ids(tokenizer: PreTrainedTokenizerFast, form: PromptForm) -> list[int]:
    """Ids of the slots that stand for nothing else, rising: all but the end of a text."""
    slots = {slot for prompt in (form.document, form.query) for slot in prompt.slots if slot != EOS}
    ends = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token)
    return sorted(_ids(tokenizer, [slot for slot in slots if slot not in ends]))


@torch.no_grad()
def add_embeddings(model: PreTrainedModel, ids: Sequence[int], *, num_entries: int, seed: int) -> None:
    """Make room for `num_entries` entries, and give those of `ids` the mean of all others and a little noise.

    The mean, because the logit of an entry that is the mean of all is at most their log-sum-exp less the log of their
    number: a new entry takes next to nothing from the others, which random rows of an untrained scale may do. The
    noise, because slots that begin equal differ by their positions alone.
    """
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    new = set(ids)
    old = [number for number in range(min(table.num_embeddings, num_entries)) if number not in new]
    if num_entries > table.num_embeddings:
        model.resize_token_embeddings(num_entries, mean_resizing=False)
    if not ids:
        return
    draw = torch.Generator().manual_seed(seed)
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    tables = {id(layer.weight): layer.weight for layer in layers if isinstance(layer, nn.Embedding | nn.Linear)}
    for weight in tables.values():
        rows = weight[old].float()
        noise = torch.randn((len(ids), weight.shape[1]), generator=draw).to(weight.device)
        weight[list(ids)] = (rows.mean(0) + _NOISE * rows.std(0) * noise).to(weight.dtype)
    if isinstance(layers[1], nn.Linear) and layers[1].bias is not None:
        layers[1].bias[list(ids)] = layers[1].bias[old].mean()


def _ids(tokenizer: PreTrainedTokenizerFast, tokens: Sequence[str]) -> list[int]:
    known = tokenizer.get_vocab()
    return [known[token] for token in tokens]
