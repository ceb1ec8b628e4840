"""Sha256 of the files that decide a vector: a flipped bit in them would otherwise give wrong vectors in silence."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from rag_embedder.errors import ModelLoadError
from rag_embedder.tokenizer import TOKENIZER_FILES

_CHECKED = ("model.safetensors", "config.json", *TOKENIZER_FILES)


def checksums_of(folder: Path) -> dict[str, str]:
    """Hex digests by file name, of those that exist."""
    return {name: _sha256(folder / name) for name in _CHECKED if (folder / name).exists()}


def verify_checksums(folder: Path, expected: Mapping[str, str], *, recorded_in: str) -> None:
    """Compare with what was recorded when the folder was saved; other files than ours are not looked at.

    Raises:
        ModelLoadError: if a file is gone or has other bytes.
    """
    for name in _CHECKED:
        if name not in expected:
            continue
        path = folder / name
        if not path.exists():
            raise ModelLoadError(f"{path} is missing; expected it because {recorded_in} records its sha256.")
        found = _sha256(path)
        if found != expected[name]:
            raise ModelLoadError(
                f"{path} has sha256 {found}; expected {expected[name]} as recorded in {recorded_in}: it was damaged "
                f"or changed after saving. Copy it again; if the change is wanted, delete 'sha256' in {recorded_in}."
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
