"""Checkpoints: folders of one safetensors and one JSON file, there whole or not at all, with nothing to unpickle."""

import json
import math
import os
import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rag_embedder.errors import ConfigError, InputError

TENSORS = "tensors.safetensors"
VALUES = "values.json"
_FORMAT = 1


def save(folder: str | Path, state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write `state` to `folder`/step-NNNNNNNN and remove all but the newest `keep`; one process calls it, not all.

    `state` holds the number of finished steps under "step". Values may be tensors, JSON values, and nested
    dictionaries, lists and tuples of these, such as an optimiser's `state_dict()`. Killed at any point, the checkpoint
    is there whole or not at all, and the ones before it are as they were.

    Raises:
        InputError: if "step" is missing or something else is in the state; nothing is written.
        ConfigError: if `keep` is below 1.
    """
    step = state.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise InputError(f"a checkpoint's state has step {step!r}; expected the number of finished steps.")
    if keep < 1:
        raise ConfigError(f"keep is {keep}; expected 1 checkpoint or more.")
    tensors: dict[str, Tensor] = {}
    text = json.dumps({"format": _FORMAT, "state": _pack(dict(state), "", tensors)}, allow_nan=False)

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for left_by_a_killed_run in folder.glob(".step-*"):
        shutil.rmtree(left_by_a_killed_run)
    target = folder / f"step-{step:08d}"
    unfinished = folder / f".{target.name}.{os.getpid()}"
    unfinished.mkdir()
    save_file(_without_sharing(tensors), unfinished / TENSORS)
    (unfinished / VALUES).write_text(text, encoding="utf-8")
    for path in (unfinished / TENSORS, unfinished / VALUES, unfinished):
        _to_disk(path)
    if target.exists():
        _remove(target)
    unfinished.rename(target)
    _to_disk(folder)
    for old in checkpoints(folder)[:-keep]:
        _remove(old)
    return target


def load_latest(folder: str | Path) -> dict[str, Any] | None:
    """The state of the checkpoint with the most steps, tensors on the CPU; None if there is no checkpoint.

    Raises:
        InputError: if that checkpoint cannot be read; older ones are not taken in its place unasked.
    """
    found = checkpoints(folder)
    return load(found[-1]) if found else None


def load(checkpoint: str | Path) -> dict[str, Any]:
    """The state in one checkpoint folder, tensors on the CPU.

    Raises:
        InputError: if it cannot be read or is of another format.
    """
    checkpoint = Path(checkpoint)
    try:
        content = json.loads((checkpoint / VALUES).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise InputError(
                f"checkpoint {checkpoint} has format {content['format']!r}; expected {_FORMAT}. "
                "Read it with the version that wrote it."
            )
        return _unpack(content["state"], load_file(checkpoint / TENSORS))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"checkpoint {checkpoint} cannot be read: {type(error).__name__}: {error}; expected {TENSORS}, {VALUES}. "
            "Remove the folder to continue from the checkpoint before it."
        ) from error


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoint folders in `folder`, fewest steps first; empty if there is no such folder."""
    folder = Path(folder)
    found = [path for path in folder.iterdir() if re.fullmatch(r"step-\d{8,}", path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def rng_state() -> dict[str, Any]:
    """The states of the random generators of Python, NumPy and torch, on the CPU and on every CUDA device."""
    name, numbers, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  (others draw from it)
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(numbers).tolist(), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Continue the random streams where `rng_state` was taken; CUDA's only with as many devices as then."""
    random.setstate(state["python"])
    name, numbers, *rest = state["numpy"]
    np.random.set_state((name, np.array(numbers, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401  (any state, any JSON value)
    """The value as JSON, its tensors put aside; what JSON lacks becomes an object with the one key $..."""
    match value:
        case Tensor():
            tensors[name] = value
            return {"$tensor": name}
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"$float": repr(value)}
        case list():
            return [_pack(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
        case tuple():
            return {"$tuple": [_pack(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]}
        case Mapping() if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _pack(item, f"{name}/{key}", tensors) for key, item in value.items()}
        case Mapping() if all(type(key) in (int, str) for key in value):
            # The number keeps the names of the keys 1 and "1" apart.
            items = enumerate(value.items())
            return {"$items": [[key, _pack(item, f"{name}/{i}:{key}", tensors)] for i, (key, item) in items]}
    raise InputError(
        f"a checkpoint's state has a {type(value).__name__} at {name or '/'}; expected tensors, JSON values, "
        "and dictionaries, lists or tuples of them."
    )


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    match value:
        case {"$tensor": name}:
            return tensors[name]
        case {"$float": text}:
            return float(text)
        case {"$tuple": items}:
            return tuple(_unpack(item, tensors) for item in items)
        case {"$items": items}:
            return {key: _unpack(item, tensors) for key, item in items}
        case dict():
            return {key: _unpack(item, tensors) for key, item in value.items()}
        case list():
            return [_unpack(item, tensors) for item in value]
    return value


def _without_sharing(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values on the CPU, each with memory of its own: safetensors refuses tied weights and views."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        address = values.untyped_storage().data_ptr()
        result[name] = values.clone() if address in seen else values
        seen.add(address)
    return result


def _remove(checkpoint: Path) -> None:
    # Renamed first: killed in between, no half of a checkpoint keeps the name of a whole one.
    hidden = checkpoint.with_name(f".{checkpoint.name}.removed")
    checkpoint.rename(hidden)
    shutil.rmtree(hidden)


def _to_disk(path: Path) -> None:
    """Wait until a file's or folder's content would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
