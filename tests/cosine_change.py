"""How much two models disagree about the same texts: what quantising a model costs, before any ranking is made."""

from dataclasses import dataclass

import numpy as np

from rag_embedder.errors import InputError
from rag_embedder.types import Vectors


@dataclass(frozen=True, slots=True)
class CosineChange:
    """Absolute differences of cosines, over all pairs of two texts."""

    largest: float
    mean: float


def cosine_change(exact: Vectors, other: Vectors) -> CosineChange:
    """Compare the unit rows, shape (n, dim), that two models gave the same n texts.

    Cosines of pairs and not of each text with itself: rankings are made of them, and a rotation of the whole space
    changes none.

    Raises:
        InputError: for less than two rows, or another number of rows in one of both.
    """
    if len(exact) != len(other) or len(exact) < 2:
        raise InputError(
            f"cosine_change: {len(exact)} and {len(other)} rows came; expected the rows of the same 2 or more texts."
        )
    first, second = exact.astype(np.float64), other.astype(np.float64)
    pairs = np.triu_indices(len(first), k=1)
    difference = np.abs(first @ first.T - second @ second.T)[pairs]
    return CosineChange(largest=float(difference.max()), mean=float(difference.mean()))
