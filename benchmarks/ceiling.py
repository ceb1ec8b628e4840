"""What a machine's matrix products reach, and what share of that an encoder's forward pass is."""

import time
from collections.abc import Sequence
from typing import Any

import torch

from rag_embedder import Embedder

_SHAPE = (4096, 1024, 1024)
_ROUNDS = 30


def product_flops(device: str, dtype: torch.dtype) -> float:
    """Operations per second of the fastest of thirty large products, as torch computes a linear layer."""
    rows, inner, columns = _SHAPE
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.nn.Linear(inner, columns, bias=False, device=device, dtype=dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            _wait(device)
            started = time.perf_counter()
            right(left)
            _wait(device)
            best = min(best, time.perf_counter() - started)
    return 2.0 * rows * inner * columns / best


def forward_flops(embedder: Embedder, texts: Sequence[str], config: dict[str, Any]) -> float:
    """Operations of all products of a BERT's forward pass over these texts, attention included, padding not."""
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    lengths = [min(embedder.max_length, 2 + count) for count in embedder.count_tokens(texts)]
    per_token = 2 * (4 * width * width + 2 * width * inner)
    return float(sum(layers * (per_token * length + 4 * width * length * length) for length in lengths))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
