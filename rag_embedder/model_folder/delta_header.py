"""`delta.json` of a delta folder: what the differences are added to, their checksum, and the model's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rag_embedder.errors import ModelLoadError
from rag_embedder.model_folder.json_files import read_json
from rag_embedder.model_folder.max_length import checked_length
from rag_embedder.model_folder.modules import POOLING_NAMES
from rag_embedder.model_folder.quantised import LARGEST
from rag_embedder.model_folder.scenario_pairs import scenarios_of
from rag_embedder.scenario import Scenario

DELTA_FORMAT = 1
DELTA_HEADER = "delta.json"
DELTA_WEIGHTS = "delta.safetensors"

_Choice = TypeVar("_Choice", int, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaHeader:
    """What delta.json says: `base_sha256` is of the base's model.safetensors, `sha256` of delta.safetensors."""

    base: str
    base_sha256: str
    bits: int
    sha256: str
    name: str
    pooling: str
    max_length: int
    training_state: str
    scenarios: Mapping[str, Scenario]


def is_delta(folder: Path) -> bool:
    """Whether a folder holds differences to a base model, or a part of such a folder."""
    return (folder / DELTA_HEADER).exists() or (folder / DELTA_WEIGHTS).exists()


def read_delta_header(folder: Path) -> DeltaHeader:
    """Read and check delta.json.

    Raises:
        ModelLoadError: if it is missing, damaged, of another format, or a value is not usable; the key is named.
    """
    path = folder / DELTA_HEADER
    if not path.exists():
        raise ModelLoadError(
            f"{path.absolute()} is missing; expected it beside {DELTA_WEIGHTS}. Copy the whole folder again."
        )
    content = read_json(path)
    if content.get("format") != DELTA_FORMAT:
        raise ModelLoadError(
            f"{path} has format {content.get('format')!r}; this version reads {DELTA_FORMAT}. Upgrade rag-embedder."
        )
    texts = {key: _text(content, key, path) for key in ("base", "base_sha256", "sha256", "name", "training_state")}
    return DeltaHeader(
        **texts,
        bits=_one_of(content, "bits", tuple(LARGEST), path),
        pooling=_one_of(content, "pooling", POOLING_NAMES, path),
        max_length=checked_length(content.get("max_length"), path, "max_length"),
        scenarios=scenarios_of(content.get("scenarios"), path),
    )


def _text(content: Mapping[str, Any], key: str, path: Path) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value:
        raise ModelLoadError(f"{path}: {key} is {value!r}; expected a text. Copy the whole folder again.")
    return value


def _one_of(content: Mapping[str, Any], key: str, choices: tuple[_Choice, ...], path: Path) -> _Choice:
    value = content.get(key)
    if isinstance(value, bool) or value not in choices:
        raise ModelLoadError(
            f"{path}: {key} is {value!r}; expected one of: {', '.join(map(str, choices))}. Upgrade rag-embedder, or "
            "copy the whole folder again."
        )
    return value
