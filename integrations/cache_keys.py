"""Keys for caches of vectors that cannot mix models, scenarios, instructions or roles."""

import hashlib
import json
from typing import Literal

from rag_embedder.protocols import TextEncoder


def vector_key(encoder: TextEncoder, text: str, *, scenario: str, role: Literal["query", "document"]) -> str:
    """A key for the vector of one text: 64 hex digits.

    The fingerprint stands for weights, tokenizer, pooling, dimension, maximum length and the scenario's instructions.
    """
    parts = json.dumps([encoder.fingerprint_of(scenario), scenario, role, text])
    return hashlib.sha256(parts.encode()).hexdigest()
