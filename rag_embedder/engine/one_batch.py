"""One batch through a model: what does not fit is halved, and what is not a number is an error."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from rag_embedder.errors import VectorError
from rag_embedder.types import Vectors

Forward = Callable[[Sequence[list[int]]], Vectors]
"""n lists of token ids to rows of shape (n, dim)."""


def vectors_of_batch(forward: Forward, token_ids: Sequence[list[int]], *, dtype: torch.dtype) -> Vectors:
    """Rows of shape (n, dim); a batch that does not fit in GPU memory is halved until it does.

    Raises:
        VectorError: if the model answers NaN or infinity.
    """
    try:
        vectors = forward(token_ids)
    except torch.cuda.OutOfMemoryError:
        if len(token_ids) == 1:
            raise
        torch.cuda.empty_cache()
        half = len(token_ids) // 2
        parts = token_ids[:half], token_ids[half:]
        return np.concatenate([vectors_of_batch(forward, part, dtype=dtype) for part in parts])
    if not np.isfinite(vectors).all():
        raise VectorError(
            f"the model gave NaN or infinity (dtype {dtype}); expected finite numbers. "
            "Load it with dtype='float32' or 'bfloat16'."
        )
    return vectors
