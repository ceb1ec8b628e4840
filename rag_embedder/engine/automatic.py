"""The engine that is chosen where none is asked for: the fast one where it can compute the model."""

from pathlib import Path
from typing import Any

from rag_embedder.engine import Engine
from rag_embedder.engine.bert import kind_of
from rag_embedder.engine.bert_weights import MODEL_TYPES
from rag_embedder.engine.device import resolve_device
from rag_embedder.engine.packed import PACKED_DECODERS, PackedEngine
from rag_embedder.model_folder.json_files import read_json

_SMALL = 128
"""Width below which half precision takes longer than float32 for a single short text on a CPU."""


class AutomaticEngine:
    """`load` gives a `PackedEngine` for the architectures it computes, and a `TransformersEngine` for others."""

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto", dtype: str = "auto", **options: Any) -> Engine:  # noqa: ANN401
        """As theirs. Dtype "auto" is bfloat16 where the device computes it fast and the model is packed, else float32.

        What is chosen depends on the model's config.json and on the machine alone, never on a measurement of time.
        """
        config = read_json(folder / "config.json")
        target = resolve_device(device)
        is_packed = kind_of(config) in MODEL_TYPES or config.get("model_type") in PACKED_DECODERS
        if target.type in ("cpu", "cuda") and is_packed:
            is_small = target.type == "cpu" and config.get("hidden_size", 0) < _SMALL
            chosen = "float32" if dtype == "auto" and is_small else dtype
            return PackedEngine.load(folder, device=device, dtype=chosen, **options)
        from rag_embedder.engine.transformers import TransformersEngine

        return TransformersEngine.load(folder, device=device, dtype=dtype, **options)
