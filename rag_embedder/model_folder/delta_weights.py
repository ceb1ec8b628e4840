"""`delta.safetensors`: for every tensor that training changed, how far it is from the base's.

NAME.integers, NAME.scales   tensors of two or more dimensions, quantised
NAME.difference              the others, float32
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from rag_embedder.errors import InputError, ModelLoadError
from rag_embedder.model_folder.delta_header import DELTA_HEADER, DELTA_WEIGHTS, DeltaHeader, read_delta_header
from rag_embedder.model_folder.quantised import Quantised, dequantise, quantise, quantised_shapes
from rag_embedder.types import Vectors

_INTEGERS, _SCALES, _DIFFERENCE = ".integers", ".scales", ".difference"

_Tensors = dict[str, npt.NDArray[np.generic]]


def delta_tensors(base: Mapping[str, Vectors], trained: Mapping[str, Vectors], *, bits: int) -> _Tensors:
    """What delta.safetensors holds; tensors that are equal in both are left out.

    Raises:
        InputError: if names or shapes differ, or a difference is not finite or too large for a float16 scale.
    """
    shapes = {name: array.shape for name, array in base.items()}
    if shapes != {name: array.shape for name, array in trained.items()}:
        raise InputError(
            f"{len(trained)} trained tensors came, with other names or shapes than the {len(base)} of the base; "
            "expected a model trained from that base."
        )
    tensors: _Tensors = {}
    for name, before in base.items():
        if not np.array_equal(before, trained[name]):
            tensors |= _stored(name, trained[name] - before, bits)
    return tensors


def merge_delta(folder: Path, weights: Mapping[str, Vectors]) -> None:
    """Add a delta folder's differences to the base's float32 `weights`, by name, in place.

    Products are rounded, then sums, each an elementwise float32 operation: the merged weights have the same bits on
    every machine, and so the same fingerprint.

    Raises:
        ModelLoadError: if a file is missing, damaged or changed, or a tensor does not fit the base; nothing is merged
            then.
    """
    header = read_delta_header(folder)
    path = folder / DELTA_WEIGHTS
    tensors = _read(path, header)
    names = dict.fromkeys(_base_name(key, path) for key in tensors)
    for name in names:
        if name not in weights:
            raise ModelLoadError(
                f"{path} changes {name}, which the base {header.base} does not have; expected a delta made for it."
            )
        _check(name, tensors, weights[name].shape, header.bits, path)
    for name in names:
        target = weights[name]
        target += _difference(name, tensors, target.shape)


def _stored(name: str, difference: Vectors, bits: int) -> _Tensors:
    if not np.isfinite(difference).all():
        raise InputError(f"tensor {name} differs from the base's by NaN or infinity; expected finite weights.")
    if difference.ndim < 2:
        return {f"{name}{_DIFFERENCE}": difference}
    quantised = quantise(difference, bits)
    if not np.isfinite(quantised.scales).all():
        raise InputError(
            f"tensor {name} differs from the base's by up to {np.abs(difference).max():.3g}; expected less than "
            "450000. Export the whole model, without a delta."
        )
    return {f"{name}{_INTEGERS}": quantised.integers, f"{name}{_SCALES}": quantised.scales}


def _read(path: Path, header: DeltaHeader) -> _Tensors:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelLoadError(
            f"{path.absolute()} cannot be read: {error.strerror}; expected it beside {DELTA_HEADER}. Copy the whole "
            "folder again."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != header.sha256:
        raise ModelLoadError(
            f"{path} has sha256 {found}; expected {header.sha256} as recorded in {DELTA_HEADER}: it was damaged or "
            "changed after it was written. Copy the whole folder again."
        )
    try:
        return safetensors.numpy.load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelLoadError(
            f"{path} cannot be read as safetensors: {error!r}. Write it again with trainer.export."
        ) from error


def _base_name(key: str, path: Path) -> str:
    for ending in (_INTEGERS, _SCALES, _DIFFERENCE):
        if key.endswith(ending):
            return key.removesuffix(ending)
    raise ModelLoadError(
        f"{path} has a tensor {key}; expected names ending in {_INTEGERS}, {_SCALES} or {_DIFFERENCE}. Upgrade "
        "rag-embedder."
    )


def _check(name: str, tensors: _Tensors, shape: tuple[int, ...], bits: int, path: Path) -> None:
    if len(shape) < 2:
        expected = {_DIFFERENCE: ("float32", shape)}
    else:
        integers, scales = quantised_shapes(shape, bits)
        expected = {_INTEGERS: ("int8" if bits == 8 else "uint8", integers), _SCALES: ("float16", scales)}
    found = {
        ending: (tensors[name + ending].dtype.name, tensors[name + ending].shape)
        for ending in (_INTEGERS, _SCALES, _DIFFERENCE)
        if name + ending in tensors
    }
    if found != expected:
        raise ModelLoadError(
            f"{path}: {name} is stored as {_shown(found)}; expected {_shown(expected)}, for {shape} of the base in "
            f"{bits} bits. Write it again with trainer.export."
        )


def _difference(name: str, tensors: _Tensors, shape: tuple[int, ...]) -> Vectors:
    if len(shape) < 2:
        return tensors[name + _DIFFERENCE].astype(np.float32, copy=False)
    integers, scales = tensors[name + _INTEGERS], tensors[name + _SCALES]
    return dequantise(Quantised(integers, scales), shape)  # pyright: ignore[reportArgumentType]  (checked above)


def _shown(stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    return " and ".join(f"{ending[1:]} {dtype} {shape}" for ending, (dtype, shape) in stored.items())
