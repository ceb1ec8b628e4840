"""Documents of all processes as negatives, with gradients of the right scale; every function is exact in one process.

Each process scores its own B queries against the documents of all W processes and takes the mean over its own rows.
The gradient of every other process's loss comes back to the document's owner in the backward pass, so that the
average over processes, which data-parallel training takes, is the gradient of the mean over all W x B queries. The
reference implementation gathers without gradient and trains with 1/W of it; weights of 1/W give its scale back.
"""

import torch
from torch import Tensor, distributed


def world_size() -> int:
    """How many processes train together; 1 if nothing was started."""
    return distributed.get_world_size() if _is_running() else 1


def rank() -> int:
    """Which of the processes this is, from 0."""
    return distributed.get_rank() if _is_running() else 0


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """The rows of all processes, in the order of ranks: (n, ...) -> (W * n, ...), of the same n in each.

    The gradient of a row is the sum over all processes, so all must run the backward pass. In one process the tensor
    itself is returned. Integers, and tensors without gradient, are gathered too.
    """
    return tensor if world_size() == 1 else _Gather.apply(tensor)  # pyright: ignore[reportReturnType]


def own_columns(num_queries: int, group_size: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Columns of this process's candidates among the gathered documents, (B, G) int64.

    Every process has B queries of G documents each, ordered by query.
    """
    first = rank() * num_queries * group_size
    columns = torch.arange(first, first + num_queries * group_size, device=device)
    return columns.reshape(num_queries, group_size)


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a float tensor over all processes, without gradient; the same in each."""
    total = value.detach().clone()
    if world_size() > 1:
        distributed.all_reduce(total)
    return total / world_size()


class _Gather(torch.autograd.Function):
    """All-gather forward; backward, each process receives the sum of the gradients of its own rows."""

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept: the gradient needs no values."""

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = [part.contiguous() for part in gradient.chunk(world_size())]
        own = torch.empty_like(parts[0])
        distributed.reduce_scatter(own, parts)
        return own


def _is_running() -> bool:
    return distributed.is_available() and distributed.is_initialized()
