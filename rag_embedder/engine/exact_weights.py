"""The weights of a folder as float32, one tensor at a time: for models that do not fit into memory in float32."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from rag_embedder.engine.adapter import Adapter
from rag_embedder.errors import ModelLoadError


class ExactWeights:
    """What a model would hold had it been loaded in float32, an adapter merged, by the model's own names.

    Only safetensors are read in parts.

    Raises:
        ModelLoadError: if a weight of the model is in no file.
    """

    def __init__(self, folder: Path, model_weights: Mapping[str, Tensor], adapter: Adapter | None) -> None:
        self._adapter = adapter or Adapter(added={}, replaced={})
        places = {key: path for path in sorted(folder.glob("*.safetensors")) for key in _keys(path)}
        self._places = {name: _place(name, places, folder) for name in model_weights}

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors, in the order of the names."""
        for name in sorted(self._places):
            yield name, self[name]

    def __getitem__(self, name: str) -> Tensor:
        """The float32 tensor of one weight."""
        if name in self._adapter.replaced:
            return self._adapter.replaced[name].float()
        key, path = self._places[name]
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor(key).float()
        return tensor + self._adapter.added[name].difference() if name in self._adapter.added else tensor


def merge_adapter(adapter: Adapter, weights: Mapping[str, Tensor], exact: ExactWeights | None) -> None:
    """Put an adapter into a model's `weights`, in place.

    The sum is taken in float32 and rounded once: float32 weights are added to, others come from `exact`.
    """
    with torch.no_grad():
        for name, pair in adapter.added.items():
            if exact is None:
                weights[name].add_(pair.difference())
            else:
                weights[name].copy_(exact[name])
        for name, tensor in adapter.replaced.items():
            weights[name].copy_(tensor)


def _keys(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _place(name: str, places: Mapping[str, Path], folder: Path) -> tuple[str, Path]:
    """Files of models with a head have one more part in front: "model.", "transformer." and so on."""
    for key in (name, *(key for key in places if key.endswith(f".{name}") and key.count(".") == name.count(".") + 1)):
        if key in places:
            return key, places[key]
    raise ModelLoadError(f"weights in {folder}: {name} is missing. Expected a complete checkpoint; fetch it again.")
