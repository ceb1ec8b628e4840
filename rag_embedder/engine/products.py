"""The matrix products of a layer as functions, with weights in the order the processor reads them in."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

from rag_embedder.engine.precision import cpu_has_bfloat16

Product = Callable[[Tensor], Tensor]
"""(tokens, width in) -> (tokens, width out)."""


def product(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    device: torch.device,
    dtype: torch.dtype,
    activation: Product | None = None,
) -> Product:
    """One product for linear layers that share their input, outputs side by side, and an activation after it.

    In bfloat16 on a CPU with instructions for it, oneDNN reorders the weight once here and not in every call, which
    was 40 % of the time of a single short text; float32 gains little from it.
    """
    weight = _joined(weights).to(device=device, dtype=dtype)
    bias = _joined(biases).to(device=device, dtype=dtype)
    if device.type == "cpu" and dtype == torch.bfloat16 and _can_reorder():
        return _reordered(weight, bias, activation)
    if activation is None:
        return lambda row: linear(row, weight, bias)
    return lambda row: activation(linear(row, weight, bias))


def exact_gelu(row: Tensor) -> Tensor:
    """GELU by the error function (Hendrycks and Gimpel 2016), the one that BERT uses."""
    return gelu(row)


def _reordered(weight: Tensor, bias: Tensor, activation: Product | None) -> Product:
    run = torch.ops.mkldnn._linear_pointwise
    ordered = torch.ops.mkldnn._reorder_linear_weight(weight)
    if activation is exact_gelu:
        return lambda row: run(row, ordered, bias, "gelu", [], "none")
    if activation is None:
        return lambda row: run(row, ordered, bias, "none", [], "")
    return lambda row: activation(run(row, ordered, bias, "none", [], ""))


def _can_reorder() -> bool:
    # The operators behind torch's own compiled models: not in every build, so asked for.
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return cpu_has_bfloat16() and torch.backends.mkldnn.is_available() and all(_has(name) for name in names)


def _has(name: str) -> bool:
    return hasattr(torch.ops.mkldnn, name)


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
