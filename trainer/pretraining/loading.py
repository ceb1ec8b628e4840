"""From a recipe's base to the decoder that is pre-trained."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, BertLMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from rag_embedder.engine.whole_weights import load_whole
from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_folder import check_weights
from rag_embedder.model_source import locate
from rag_embedder.prompt_form import PromptForm
from trainer.adapters import with_adapters
from trainer.pretraining.model import JointDecoder
from trainer.pretraining.settings import PretrainModelSettings
from trainer.pretraining.slots import add_embeddings, slot_ids
from trainer.slot_embeddings import SlotEmbeddings


def load_decoder(
    settings: PretrainModelSettings,
    tokenizer: PreTrainedTokenizerFast,
    form: PromptForm,
    *,
    new_ids: Sequence[int],
    seed: int,
    device: torch.device,
) -> JointDecoder:
    """The base with entries for all tokens of `tokenizer`; those of `new_ids` begin at the mean of the others.

    Raises:
        ModelLoadError: if there is no such model, or it is no decoder.
        ConfigError: if it cannot read `max_length` tokens.
    """
    folder = base_folder(settings)
    dtype = torch.float32 if not settings.lora_rank or settings.dtype == "float32" else torch.bfloat16
    model = load_whole(AutoModelForCausalLM, folder, dtype, what="causal language model, its head included")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    _check_base(model, settings.max_length)
    add_embeddings(model, new_ids, num_entries=1 + max(tokenizer.get_vocab().values()), seed=seed)
    slots = None
    if settings.lora_rank:
        # Only the backbone is searched for layers: the head is outside of it.
        backbone = model.base_model
        assert isinstance(backbone, PreTrainedModel)
        torch.manual_seed(seed)
        with_adapters(backbone, rank=settings.lora_rank, alpha=settings.lora_alpha)
        slots = _trained_alone(model, slot_ids(tokenizer, form))
    return JointDecoder(
        model,
        slots=slots,
        dtype=settings.dtype,
        gradient_checkpointing=settings.gradient_checkpointing,
        device=device,
    )


def _trained_alone(model: PreTrainedModel, ids: Sequence[int]) -> SlotEmbeddings | None:
    """The embeddings of these tokens, to be trained while all other weights but adapters are frozen."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(".lora_" in name)
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return SlotEmbeddings(table.weight, ids) if ids else None


def base_folder(settings: PretrainModelSettings) -> Path:
    """The folder of the base, as `Embedder.load` would find it.

    Raises:
        ModelLoadError: if there is none, or it holds differences to another model.
    """
    source = locate(settings.base)
    if source.base is not None:
        raise ModelLoadError(f"model.base: {settings.base} holds differences to a base; expected a whole decoder.")
    check_weights(source.files, allow_pickle=False)
    return source.files


def _check_base(model: PreTrainedModel, length: int) -> None:
    for name in ("max_position_embeddings", "sliding_window"):
        limit = getattr(model.config, name, None)
        if limit is not None and length > limit:
            raise ConfigError(f"model.max_length is {length}; expected at most {limit}, the base's {name}.")
    if not isinstance(model.get_output_embeddings(), nn.Linear):
        raise ModelLoadError(f"{type(model).__name__} has no linear head; expected a causal language model.")
    if isinstance(model, BertLMHeadModel) and not model.config.is_decoder:
        raise ModelLoadError("the base is a BERT that reads both ways; expected a decoder, as fit_lm makes of one.")
