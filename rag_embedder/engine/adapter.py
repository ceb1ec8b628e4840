"""The weights of a PEFT folder: low-rank differences to a base, added to it in float32 when it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from rag_embedder.errors import ModelLoadError
from rag_embedder.model_folder.adapter_config import ADAPTER_WEIGHTS, read_adapter_config

_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """scale * B A: `down` (rank, in) is A, `up` (out, rank) is B."""

    down: Tensor
    up: Tensor
    scale: float

    def difference(self) -> Tensor:
        """(out, in), float32."""
        return self.scale * (self.up.float() @ self.down.float())


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """By the weights' names as the adapter has them, without PEFT's prefix: what is added, and what is put in place."""

    added: Mapping[str, LowRank]
    replaced: Mapping[str, Tensor]

    def fitted(self, names: Mapping[str, Tensor], folder: Path) -> "Adapter":
        """The adapter by the names of a model without head; what belongs to a head is left out.

        Raises:
            ModelLoadError: if it changes a weight that the model does not have, or of another shape.
        """
        added = {_name_in(names, name, folder): pair for name, pair in self.added.items()}
        for name, pair in added.items():
            shape = (pair.up.shape[0], pair.down.shape[1])
            if shape != tuple(names[name].shape) or pair.up.shape[1] != pair.down.shape[0]:
                raise ModelLoadError(
                    f"{folder}: the adapter of {name} is for a weight of {shape}; the base has "
                    f"{tuple(names[name].shape)}. Expected the base it was trained from."
                )
        replaced = {
            _name_in(names, name, folder): tensor
            for name, tensor in self.replaced.items()
            if name.partition(".")[0] not in ("lm_head", "score")
        }
        return Adapter(added=added, replaced=replaced)


def read_adapter(folder: Path) -> Adapter:
    """The tensors of a PEFT folder, on the CPU; pickled ones are never read.

    Raises:
        ModelLoadError: if they cannot be read, or are of another kind than LoRA's matrices and whole weights.
    """
    config = read_adapter_config(folder)
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(folder / ADAPTER_WEIGHTS).items()}
    added: dict[str, LowRank] = {}
    replaced: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        module, found, _ = name.partition(".lora_A.")
        if found:
            up = tensors.get(f"{module}.lora_B.weight")
            if up is None:
                raise ModelLoadError(f"{folder}: {name} has no lora_B beside it; expected both. Copy the folder again.")
            added[f"{module}.weight"] = LowRank(down=tensor, up=up, scale=config.scale(tensor.shape[0]))
        elif ".lora_" not in name and "token_adapter" not in name:
            replaced[name.replace(".modules_to_save.", ".")] = tensor
        elif ".lora_B." not in name:
            raise ModelLoadError(
                f"{folder} holds {name}; expected lora_A and lora_B of linear layers, and whole weights. Merge it with "
                "peft and load the whole model."
            )
    return Adapter(added=added, replaced=replaced)


def _name_in(names: Mapping[str, Tensor], name: str, folder: Path) -> str:
    """Adapters of models with a head say "model.layers", those of models without "layers"."""
    for known in (name, name.removeprefix("model.")):
        if known in names:
            return known
    raise ModelLoadError(
        f"{folder} adapts {name}, which the base model does not have; expected an adapter made for this base."
    )
