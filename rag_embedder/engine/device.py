"""Which device an engine computes on."""

import os

import torch

from rag_embedder.errors import ConfigError

# OpenMP's threads do not survive fork(), and a forward pass in the child would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def resolve_device(device: str) -> torch.device:
    """The torch device; "auto" is CUDA when there is one, else the CPU.

    Raises:
        ConfigError: if the device does not exist here; the message lists those that do.
    """
    count = torch.cuda.device_count()
    here = ["cpu", *(f"cuda:{index}" for index in range(count))]
    if device == "auto":
        return torch.device("cuda:0" if count else "cpu")
    wanted = "cuda:0" if device == "cuda" else device
    if wanted == "mps" and torch.backends.mps.is_available():
        return torch.device("mps")
    if wanted not in here:
        raise ConfigError(f"device {device!r} is not here; expected 'auto' or one of: {', '.join(here)}.")
    return torch.device(wanted)
