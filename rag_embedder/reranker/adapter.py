"""A LoRA adapter as PEFT writes it, merged into the weights of its base: W + scale * B A (Hu et al. 2021)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from rag_embedder.errors import ModelLoadError, UntrustedModelError
from rag_embedder.model_folder.json_files import read_json

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_REFUSED = ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "layer_replication")
"""Settings that change what an adapter means; all of them empty or false in plain LoRA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What adapter_config.json says: the base model, and what B A is multiplied with."""

    folder: Path
    base: str
    scale: float


def read_adapter(folder: Path) -> Adapter:
    """The adapter of a folder that has an adapter_config.json.

    Raises:
        ModelLoadError: if it is not plain LoRA, or does not name its base.
    """
    path = folder / ADAPTER_CONFIG
    config = read_json(path)
    base = config.get("base_model_name_or_path")
    if config.get("peft_type") != "LORA":
        raise ModelLoadError(f"{path}: peft_type is {config.get('peft_type')!r}; expected 'LORA'.")
    if not isinstance(base, str) or not base:
        raise ModelLoadError(f"{path}: base_model_name_or_path is {base!r}; expected a folder or hub id.")
    refused = [name for name in _REFUSED if config.get(name)]
    if refused:
        raise ModelLoadError(
            f"{path}: {', '.join(refused)} is set, which is not read here. Merge the adapter with PEFT's "
            "merge_and_unload() and load what that saves."
        )
    return Adapter(folder=folder, base=base, scale=_scale(path, config))


@torch.no_grad()
def merge_adapter(model: PreTrainedModel, adapter: Adapter, *, allow_pickle: bool = False) -> set[str]:
    """Add the adapter to the model's weights, in place; returns the names of the tensors it replaced as a whole.

    Products are computed in float32 and rounded once, to the number format of the weights.

    Raises:
        ModelLoadError: if a tensor is missing, of the wrong shape, or none of the model's.
        UntrustedModelError: if there are only pickled weights and `allow_pickle` is off.
    """
    tensors = _read_tensors(adapter.folder, allow_pickle=allow_pickle)
    own = dict(model.named_parameters())
    replaced: set[str] = set()
    for key, tensor in tensors.items():
        # As the head of a classifier is stored by different versions of PEFT.
        name = key.removeprefix(_PREFIX).replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")
        if name.endswith(_UP):
            continue  # read with its other half
        if name.endswith(_DOWN):
            up = tensors.get(key.removesuffix(_DOWN) + _UP)
            if up is None or up.shape[1] != tensor.shape[0]:
                raise ModelLoadError(f"{adapter.folder}: {key} has no fitting {_UP[1:]}; expected both of each pair.")
            weight = _weight(own, name.removesuffix(_DOWN) + ".weight", (up.shape[0], tensor.shape[1]), adapter)
            weight.copy_(weight.float() + adapter.scale * (up.float() @ tensor.float()))
        else:
            _weight(own, name, tuple(tensor.shape), adapter).copy_(tensor)
            replaced.add(name)
    return replaced


def _weight(own: Mapping[str, Tensor], name: str, shape: tuple[int, ...], adapter: Adapter) -> Tensor:
    if name not in own or tuple(own[name].shape) != shape:
        raise ModelLoadError(
            f"{adapter.folder} changes {name} of shape {shape}, which the base {adapter.base} does not have; expected "
            "an adapter made for it."
        )
    return own[name]


def _scale(path: Path, config: dict[str, Any]) -> float:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise ModelLoadError(f"{path}: r is {rank!r} and lora_alpha {alpha!r}; expected numbers, r at least 1.")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _read_tensors(folder: Path, *, allow_pickle: bool) -> dict[str, Tensor]:
    try:
        if (folder / _WEIGHTS).exists():
            return load_file(folder / _WEIGHTS)
        if not (folder / _PICKLED).exists():
            raise ModelLoadError(f"no adapter weights in {folder}: expected {_WEIGHTS}.")
        if not allow_pickle:
            raise UntrustedModelError(
                f"{folder} has only pickled weights ({_PICKLED}), which can run code when read; expected {_WEIGHTS}. "
                "Pass allow_pickle=True if you trust the file (it is then read with torch's weights-only loader)."
            )
        return torch.load(folder / _PICKLED, map_location="cpu", weights_only=True)
    except ModelLoadError:
        raise
    except Exception as error:  # safetensors and pickle have their own
        raise ModelLoadError(f"cannot read the adapter in {folder}: {type(error).__name__}: {error}") from error
