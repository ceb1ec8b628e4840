"""Tiny rerankers, made in a moment from a seed: a BERT and decoders with one output."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from tests import tiny_language_models
from tests.tiny_models import make_tokenizer, write_json

_DECODERS = {
    "llama": (LlamaConfig, LlamaForSequenceClassification),
    "mistral": (MistralConfig, MistralForSequenceClassification),
}


def write_cross_encoder(folder: Path, *, num_labels: int = 1, seed: int = 0) -> Path:
    """A BERT over 64 positions, whose tokenizer says 48."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer("bert")
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=num_labels,
        initializer_range=0.5,
    )
    with _quiet():
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    }
    write_json(folder / "tokenizer_config.json", {**names, "tokenizer_class": "BertTokenizer", "model_max_length": 48})
    return folder


def make_decoder(architecture: str = "llama", *, seed: int = 0) -> PreTrainedModel:
    """A decoder with a score head and without a padding token, as Llama 2 has none."""
    config_class, model_class = _DECODERS[architecture]
    config = config_class(
        vocab_size=len(tiny_language_models.make_tokenizer()),
        bos_token_id=1,
        eos_token_id=2,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=tiny_language_models.POSITIONS,
        num_labels=1,
        pad_token_id=None,
    )
    model = model_class(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, 0.3, generator=generator)
    return model.eval()


def write_decoder(folder: Path, architecture: str = "llama", *, seed: int = 0, padding_side: str = "right") -> Path:
    """The same as a folder."""
    tokenizer = tiny_language_models.make_tokenizer()
    tokenizer.padding_side = padding_side
    with _quiet():
        make_decoder(architecture, seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def _quiet() -> Iterator[None]:
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if had_bars:
            transformers_logging.enable_progress_bar()
