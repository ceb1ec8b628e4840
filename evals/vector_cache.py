"""Vectors of texts that were encoded before, on disk: a run that was interrupted goes on where it stopped."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evals.whole_file import whole_file
from rag_embedder.protocols import TextEncoder
from rag_embedder.types import Vectors

BLOCK = 2048
"""Texts per file, and at most lost by an interruption."""


class VectorCache:
    """Blocks of vectors by content: the encoder's fingerprint for the scenario, the role and the texts are the key.

    So nothing is ever read that another model, instruction or role has written; a damaged file is encoded again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def encode(self, encoder: TextEncoder, texts: Sequence[str], *, scenario: str, role: str) -> Vectors:
        """Rows of shape (n, dim), read where they are known."""
        encode = encoder.encode_queries if role == "query" else encoder.encode_documents
        blocks = []
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            path = self._folder / f"{_key(encoder, block, scenario, role)}.npy"
            vectors = _read(path, (len(block), encoder.dim))
            if vectors is None:
                vectors = encode(block, scenario)
                with whole_file(path) as file:
                    np.save(file, vectors)
            blocks.append(vectors)
        return np.concatenate(blocks) if blocks else np.empty((0, encoder.dim), np.float32)


def _key(encoder: TextEncoder, texts: Sequence[str], scenario: str, role: str) -> str:
    parts = json.dumps([encoder.fingerprint_of(scenario), scenario, role, list(texts)])
    return hashlib.sha256(parts.encode()).hexdigest()


def _read(path: Path, shape: tuple[int, int]) -> Vectors | None:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    is_right = vectors.dtype == np.float32 and vectors.shape == shape and bool(np.isfinite(vectors).all())
    return vectors if is_right else None
