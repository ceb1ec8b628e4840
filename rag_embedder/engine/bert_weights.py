"""The weights of BERT's family: read straight from their file where that is plain, or taken from a loaded model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rag_embedder.model_folder.json_files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL_TYPES = ("bert", "roberta", "xlm-roberta")

_PREFIXES = ("", "bert.", "roberta.")
"""Files of a model with a head name its encoder in front."""

_SIZES = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "pad_token_id",
    "type_vocab_size",
    "vocab_size",
)


@dataclass(frozen=True, slots=True)
class BertWeights:
    """The entries of config.json, and float32 tensors on the CPU by the names they have inside of the model."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def weights_of(model: "PreTrainedModel") -> BertWeights:
    """Those of a loaded model, over the same memory."""
    return BertWeights(model.config.to_dict(), model.state_dict())


def read_bert_weights(folder: Path) -> BertWeights | None:
    """What one plain safetensors file holds, without transformers, whose import alone takes seconds.

    None, and transformers is to load the folder or to say what is wrong with it, if config.json leaves anything to
    its defaults, the file is split, or a tensor is missing, of another shape or under a name of old.
    """
    config, path = read_json(folder / "config.json"), folder / "model.safetensors"
    if not _is_plain(config) or not path.exists():
        return None
    try:
        stored = load_file(path)
    except (OSError, SafetensorError):
        return None
    shapes = _shapes(config)
    for prefix in _PREFIXES:
        tensors = {name: stored[prefix + name] for name in shapes if prefix + name in stored}
        if {name: tuple(tensor.shape) for name, tensor in tensors.items()} == shapes:
            return BertWeights(config, {name: tensor.float() for name, tensor in tensors.items()})
    return None


def _is_plain(config: Mapping[str, Any]) -> bool:
    sizes = [config.get(name) for name in _SIZES]
    return (
        config.get("model_type") in MODEL_TYPES
        and all(isinstance(size, int) for size in sizes)
        and isinstance(config.get("layer_norm_eps"), float)
        and isinstance(config.get("hidden_act"), str)
        and not config.get("add_cross_attention")
        and not config.get("quantization_config")
    )


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of every tensor that the last states depend on."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        **_norm("embeddings.LayerNorm", width),
    }
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes |= _linear(f"{name}.attention.self.{part}", width, width)
        shapes |= _linear(f"{name}.attention.output.dense", width, width)
        shapes |= _norm(f"{name}.attention.output.LayerNorm", width)
        shapes |= _linear(f"{name}.intermediate.dense", inner, width)
        shapes |= _linear(f"{name}.output.dense", width, inner)
        shapes |= _norm(f"{name}.output.LayerNorm", width)
    return shapes


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def arrays_of(weights: BertWeights) -> dict[str, Any]:
    """The tensors as NumPy arrays over the same memory."""
    return {name: tensor.numpy() for name, tensor in weights.tensors.items() if tensor.dtype == torch.float32}
