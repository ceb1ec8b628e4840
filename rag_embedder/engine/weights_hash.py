"""What makes two sets of weights the same."""

import hashlib
from collections.abc import Iterable

from torch import Tensor


def hash_weights(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Sha256 over tensors by name, as float32: the same for every file layout, device and precision of one model.

    `weights` come sorted by name, as transformers names them inside of the model.
    """
    digest = hashlib.sha256()
    for name, tensor in weights:
        if not name.startswith("pooler."):  # never used, and absent or random in some checkpoints
            digest.update(f"{name} {list(tensor.shape)}".encode())
            digest.update(tensor.float().contiguous().numpy().data)
    return digest.hexdigest()
