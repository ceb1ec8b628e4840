"""What the losses share: the student scores, the check of a batch's shapes, and a loss per query with its mean."""

from typing import NamedTuple

import torch
from torch import Tensor

from rag_embedder.errors import InputError


class LossOutput(NamedTuple):
    """`loss` () is what is minimised: the mean of `rows` (B,), one value per query in nats."""

    loss: Tensor
    rows: Tensor


def mean_of(rows: Tensor) -> LossOutput:
    """The output of a loss whose values per query are `rows` (B,)."""
    return LossOutput(rows.mean(), rows)


def student_scores(queries: Tensor, documents: Tensor, *, temperature: float) -> Tensor:
    """Cosines of unit rows over the temperature, (B, D) x (N, D) -> (B, N), in float32 also under autocast.

    At a temperature of 0.01 scores reach 100, where bfloat16 has steps of a half.
    """
    with torch.autocast(queries.device.type, enabled=False):
        dtype = torch.promote_types(queries.dtype, torch.float32)
        return queries.to(dtype) @ documents.to(dtype).T / temperature


def check_unit_rows(vectors: Tensor, *, tolerance: float = 1e-2) -> None:
    """Refuses vectors (n, D) that are not of length 1: a temperature is meaningless for them.

    It waits for the device, so call it once before training starts and not in every step.

    Raises:
        InputError: with the length farthest from 1.
    """
    lengths = vectors.detach().float().norm(dim=-1)
    # Written so that NaN is refused too.
    if not bool(((lengths - 1).abs() <= tolerance).all()):
        worst = lengths[(lengths - 1).abs().nan_to_num(nan=torch.inf).argmax()]
        raise InputError(
            f"a vector of length {worst:.4g} came where a temperature divides cosines; expected length 1: "
            "normalise the encoder's vectors, or use other weights if these are damaged"
        )


def check_batch(scores: Tensor, own: Tensor, rewards: Tensor | None, mask: Tensor) -> None:
    """Refuses a batch whose tensors do not fit together; reads shapes and types only, so it waits for no device.

    Raises:
        InputError: naming the tensor, its shape or type and what was expected.
    """
    if scores.ndim != 2 or scores.dtype not in (torch.float32, torch.float64):
        raise InputError(f"scores are {_described(scores)}; expected float32 of shape (queries, documents)")
    num_queries, num_documents = scores.shape
    if own.ndim != 2 or own.shape[0] != num_queries or own.dtype != torch.int64:
        raise InputError(f"own is {_described(own)}; expected int64 of shape ({num_queries}, candidates)")
    if not 1 <= own.shape[1] <= num_documents:
        raise InputError(f"own has {own.shape[1]} candidates per query; expected 1 to {num_documents}, all documents")
    if mask.shape != scores.shape or mask.dtype != torch.bool:
        raise InputError(f"mask is {_described(mask)}; expected bool of shape {tuple(scores.shape)}")
    if rewards is not None and rewards.shape != own.shape:
        raise InputError(
            f"rewards are {_described(rewards)}; expected {tuple(own.shape)}, one for each of a query's candidates"
        )


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
