"""`adapter_config.json` of a PEFT folder: which base its low-rank differences belong to, and how they are scaled."""

from dataclasses import dataclass
from pathlib import Path

from rag_embedder.errors import ModelLoadError
from rag_embedder.model_folder.json_files import read_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_PLAIN = {
    "use_dora": False,
    "fan_in_fan_out": False,
    "bias": "none",
    "alpha_pattern": {},
    "layer_replication": None,
    "lora_bias": False,
}
"""Options that would make the merged weights something else than W + scale B A, and the value they must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """LoRA (Hu et al. 2021): the base's folder or hub id, and alpha; the rank is each matrix's own."""

    base: str
    alpha: float
    is_rank_stabilised: bool

    def scale(self, rank: int) -> float:
        """What the product of both matrices is multiplied by."""
        return self.alpha / (rank**0.5 if self.is_rank_stabilised else rank)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (folder / ADAPTER_CONFIG).exists()


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read and check adapter_config.json.

    Raises:
        ModelLoadError: if it is damaged, of another kind than plain LoRA, or names no base; the key is named.
    """
    path = folder / ADAPTER_CONFIG
    content = read_json(path)
    if content.get("peft_type") != "LORA":
        raise ModelLoadError(
            f"{path}: peft_type is {content.get('peft_type')!r}; expected 'LORA'. Merge it with peft "
            "and load the whole model."
        )
    for key, plain in _PLAIN.items():
        if content.get(key) not in (None, plain):
            raise ModelLoadError(
                f"{path}: {key} is {content[key]!r}; expected {plain!r}. Merge it with peft and load the whole model."
            )
    base, alpha = content.get("base_model_name_or_path"), content.get("lora_alpha")
    if not isinstance(base, str) or not base:
        raise ModelLoadError(
            f"{path}: base_model_name_or_path is {base!r}; expected the folder or hub id of the model it was made for."
        )
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise ModelLoadError(f"{path}: lora_alpha is {alpha!r}; expected a number. Copy the file again.")
    return AdapterConfig(base=base, alpha=alpha, is_rank_stabilised=content.get("use_rslora") is True)
