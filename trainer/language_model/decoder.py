"""The causal language model that is trained, and the folder it becomes."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    BertConfig,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rag_embedder.engine.exclusive import quiet_transformers
from rag_embedder.engine.transformers import float32_weights
from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_folder import merge_delta
from rag_embedder.model_source import locate
from trainer.language_model.causal_attention import CAUSAL
from trainer.language_model.documents import start_and_end
from trainer.language_model.model_folder import save_model_folder
from trainer.language_model.settings import DecoderSettings
from trainer.language_model.token_loss import token_losses

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


class Decoder(nn.Module):
    """Weights in float32; with dtype="bfloat16" a pass runs under autocast. Dropout is off: texts are seen once."""

    def __init__(self, model: LlamaForCausalLM | BertLMHeadModel, *, dtype: str, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self._autocast = _AUTOCAST[dtype]
        self.device = device
        model.set_attn_implementation(CAUSAL)
        nn.Module.to(self, device=device)

    @property
    def batch_tokens(self) -> int:
        """Tokens that go through the model together: on a CPU few, so that activations stay in its caches."""
        return 2048 if self.device.type == "cpu" else 32_768

    @property
    def max_length(self) -> int:
        """Tokens of the longest row."""
        return self.model.config.max_position_embeddings

    def losses(self, ids: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum of -log p, with gradients, and -log p (rows, length - 1) of each token after the first.

        `ids` (rows, length) are full rows, or padded at the end; `weights` (rows, length) belong to the tokens that
        are predicted, so a row's first weight plays no part. A token of weight 0 gets -log p 0.
        """
        ids, weights = ids.to(self.device), weights[:, 1:].to(self.device)
        with torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            states = self._states(ids[:, :-1])
            counts = weights > 0
            head = self.model.get_output_embeddings()
            assert isinstance(head, nn.Linear)
            total, each = token_losses(states[counts], head.weight, head.bias, ids[:, 1:][counts], weights[counts])
        return total, torch.zeros_like(weights).masked_scatter(counts, each)

    def _states(self, ids: Tensor) -> Tensor:
        """What the last layer reads, (rows, length, width)."""
        if isinstance(self.model, BertLMHeadModel):
            read = self.model.bert(input_ids=ids, use_cache=False).last_hidden_state
            return self.model.cls.predictions.transform(read)
        return self.model.model(input_ids=ids, use_cache=False).last_hidden_state

    def save(self, folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
        """Write config, safetensors and tokenizer files; a folder that was there is replaced by a whole one."""
        return save_model_folder(folder, self.model, tokenizer)


def new_decoder(settings: DecoderSettings, tokenizer: PreTrainedTokenizerFast, *, device: torch.device) -> Decoder:
    """Random weights of the seed torch has, or those of an encoder that now reads from left to right.

    Raises:
        ModelLoadError: if there is no such encoder, or it is no BERT.
        ConfigError: if it cannot read `max_length` tokens.
    """
    model = _from_encoder(settings) if settings.init == "encoder" else _from_scratch(settings, tokenizer)
    start, end = start_and_end(tokenizer)
    for config in (model.config, model.generation_config):
        if config is not None:
            config.bos_token_id, config.eos_token_id = start, end
    return Decoder(model, dtype=settings.dtype, device=device)


def _from_scratch(settings: DecoderSettings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Rotary positions, gated layers, tied embeddings (Touvron et al. 2023)."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        # Gated layers have three matrices: 8/3 of the width makes them as large as two of 4 widths.
        intermediate_size=-(-8 * settings.width // 3 // 64) * 64,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.max_length,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def _from_encoder(settings: DecoderSettings) -> BertLMHeadModel:
    """A BERT as decoder. Its head, which sentence encoders are published without, begins at random but for the tie."""
    source = locate(settings.base)
    folder = source.files
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if not isinstance(config, BertConfig):
        raise ModelLoadError(f"model.base: {folder} is of type {config.model_type}; expected a BERT encoder.")
    if settings.max_length > config.max_position_embeddings:
        raise ConfigError(
            f"model.max_length is {settings.max_length}; expected at most {config.max_position_embeddings}, "
            "which the base has positions for."
        )
    config.is_decoder, config.add_cross_attention, config.tie_word_embeddings = True, False, True
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.architectures = ["BertLMHeadModel"]
    try:
        with quiet_transformers():  # of the head that is missing, as it must be
            loaded: Any = BertLMHeadModel.from_pretrained(
                str(folder), config=config, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelLoadError(f"cannot load the encoder in {folder}: {type(error).__name__}: {error}") from error
    model, report = loaded
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("cls."))
    if missing:
        raise ModelLoadError(f"weights in {folder}: {len(missing)} tensors are missing (first: {missing[0]}).")
    if source.delta is not None:
        merge_delta(source.delta, float32_weights(model.bert))
    return model
