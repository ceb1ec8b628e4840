"""Writes a delta folder: a trained model as its quantised difference to a base that everybody has."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.numpy

from rag_embedder.model_folder.delta_header import DELTA_FORMAT, DELTA_HEADER, DELTA_WEIGHTS
from rag_embedder.model_folder.delta_weights import delta_tensors
from rag_embedder.model_folder.json_files import write_json
from rag_embedder.model_folder.new_folder import new_folder
from rag_embedder.model_folder.scenario_pairs import pairs_of
from rag_embedder.model_folder.settings import ModelSettings
from rag_embedder.types import Vectors


def write_delta(
    target: Path,
    settings: ModelSettings,
    *,
    base: str,
    base_sha256: str,
    base_weights: Mapping[str, Vectors],
    trained_weights: Mapping[str, Vectors],
    bits: int,
) -> None:
    """Write delta.safetensors and delta.json; whether text is lowercased stays the base's.

    `base` is a hub id, `base_sha256` of its model.safetensors; weights are float32, by name. `bits` is 8 or 4.

    Raises:
        ConfigError: if `target` exists and is not an empty folder.
        InputError: if the weights are not those of one architecture, or not finite.
    """
    tensors = delta_tensors(base_weights, trained_weights, bits=bits)
    content = safetensors.numpy.save(tensors)
    header = {
        "format": DELTA_FORMAT,
        "base": base,
        "base_sha256": base_sha256,
        "bits": bits,
        "sha256": hashlib.sha256(content).hexdigest(),
        "name": settings.name,
        "training_state": settings.training_state,
        "pooling": settings.pooling,
        "max_length": settings.max_length,
        "scenarios": pairs_of(settings.scenarios),
    }
    with new_folder(target) as folder:
        (folder / DELTA_WEIGHTS).write_bytes(content)
        write_json(folder / DELTA_HEADER, header)
