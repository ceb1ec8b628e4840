"""What every back-end refuses before it does anything."""

import numpy as np

from rag_embedder.errors import InputError, VectorError
from rag_embedder.types import Numbers, Vectors

MAX_K = 1_000_000


def check_request(queries: Vectors, k: int, dim: int) -> Vectors:
    """`queries` as contiguous float32 (q, dim).

    Raises:
        InputError: if `k` is not an integer from 1 to 1,000,000.
        VectorError: if the shape is wrong or a component is not finite.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MAX_K:
        raise InputError(f"k: got {k!r}; expected an integer from 1 to {MAX_K}.")
    given = np.asarray(queries)
    if given.ndim != 2 or given.shape[1] != dim:
        raise VectorError(f"queries have shape {given.shape}; expected (any, {dim}).")
    converted = np.ascontiguousarray(given, np.float32)
    if not np.isfinite(converted).all():
        raise VectorError("a query vector holds NaN or infinity; expected finite numbers.")
    return converted


def check_added(numbers: Numbers, vectors: Vectors, dim: int) -> tuple[Numbers, Vectors]:
    """Rows to add as int64 (n,) and contiguous float32 (n, dim).

    Raises:
        VectorError: if the shapes do not fit together or a component is not finite.
    """
    names, given = np.asarray(numbers, np.int64), np.asarray(vectors)
    if given.shape != (len(names), dim):
        raise VectorError(f"vectors have shape {given.shape}; expected ({len(names)}, {dim}).")
    converted = np.ascontiguousarray(given, np.float32)
    if not np.isfinite(converted).all():
        raise VectorError("a vector holds NaN or infinity; expected finite numbers.")
    return names, converted
