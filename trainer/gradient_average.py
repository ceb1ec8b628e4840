"""The average of all processes' gradients, in a few large messages, once per step and after the last chunk of it."""

from collections.abc import Iterable

import torch
from torch import Tensor, distributed

from trainer.distributed import world_size

_BUCKET = 1 << 24
"""Components that are sent together: 64 MiB of float32."""


def average_gradients(weights: Iterable[Tensor]) -> None:
    """Replace the gradient of each weight by its mean over processes; a weight without one counts as zero.

    Every process must call it with the same weights in the same order. One process: nothing happens.
    """
    processes = world_size()
    if processes == 1:
        return
    bucket: list[Tensor] = []
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        bucket.append(weight.grad)
        if sum(gradient.numel() for gradient in bucket) >= _BUCKET:
            _average(bucket, processes)
            bucket = []
    if bucket:
        _average(bucket, processes)


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        distributed.barrier()


def _average(gradients: list[Tensor], processes: int) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= processes
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
