"""Tiny decoders as encoders: the layouts of released checkpoints with 2 layers of 32 dimensions."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from tests.tiny_language_models import make_language_model, make_tokenizer

SLOTS = tuple(f"<s{number}>" for number in range(1, 17))
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_decoder(
    folder: Path, architecture: str = "llama", *, slots: Sequence[str] = (), seed: int = 0, head: bool = True
) -> Path:
    """config.json, model.safetensors (with the head, as published, or without) and tokenizer; returns `folder`."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(slots)})
    model = make_language_model(architecture, seed=seed)
    torch.manual_seed(seed)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[-len(slots) or len(tokenizer) :].normal_(0.0, 0.3)
    (model if head else model.base_model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if bars:
        transformers_logging.enable_progress_bar()
    return folder


def write_adapter(
    folder: Path, base: Path, *, rank: int = 4, alpha: float = 8, with_head: bool = False, seed: int = 1, **config
) -> Path:
    """A PEFT folder over all linear layers, named as PEFT names them over a model without or with a head."""
    model = AutoModel.from_pretrained(base)
    generator = torch.Generator().manual_seed(seed)
    prefix = "base_model.model.model." if with_head else "base_model.model."
    tensors = {}
    for name, weight in model.state_dict().items():
        if name.split(".")[-2] in LINEAR:
            module = prefix + name.removesuffix(".weight")
            rows, columns = weight.shape
            tensors[f"{module}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) * 0.2
            tensors[f"{module}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) * 0.2
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    content = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": list(LINEAR),
        "bias": "none",
        "task_type": "FEATURE_EXTRACTION",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(content | config), encoding="utf-8")
    return folder
