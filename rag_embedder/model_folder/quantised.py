"""Symmetric quantisation of float32 tensors: integers of 8 or 4 bits, one float16 scale per 64 columns of a row."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_embedder.types import Vectors

GROUP = 64
"""Columns, along the last axis, that share a scale."""

LARGEST = {8: 127, 4: 7}
"""Largest integer by number of bits; the smallest is its negative, so that zero is exact."""

_NIBBLE_ZERO = 8
"""How the integer 0 is written in four bits without a sign."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """Rows in groups of columns; the last group of a row is filled up with zeros.

    `integers` is int8 of shape (rows, groups * 64) for 8 bits; for 4 bits it is uint8 with half as many columns, the
    even one of each pair in the low half of the byte, written as integer + 8. `scales` is float16 (rows, groups).
    """

    integers: npt.NDArray[np.int8] | npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float16]


def quantise(values: Vectors, bits: int) -> Quantised:
    """The nearest multiples of each group's scale; they are off by at most half of it.

    Args:
        values: finite float32 of two or more dimensions; all but the last become rows.
        bits: a key of `LARGEST`.
    """
    rows = values.reshape(-1, values.shape[-1])
    groups = np.pad(rows, ((0, 0), (0, -rows.shape[1] % GROUP))).reshape(len(rows), -1, GROUP)
    scales = _round_up(np.abs(groups).max(axis=-1) / np.float32(LARGEST[bits]))
    steps = np.where(scales == 0, np.float32(1), scales.astype(np.float32))
    integers = np.rint(groups / steps[..., None]).astype(np.int8).reshape(len(rows), -1)
    return Quantised(_two_per_byte(integers) if bits == 4 else integers, scales)


def dequantise(quantised: Quantised, shape: tuple[int, ...]) -> Vectors:
    """Scale times integer, as float32 of the `shape` that the values had.

    Each product is one float32 multiplication of numbers that are exact in float32, rounded once as IEEE 754 says, so
    every machine gets the same bits. Whoever adds it to something has to do that in a second pass: a compiler that
    sees both at once may fuse them into one instruction, which rounds differently.
    """
    stored = quantised.integers
    integers = _one_per_byte(stored.view(np.uint8)) if stored.dtype == np.uint8 else stored
    rows, num_groups = quantised.scales.shape
    values = integers.reshape(rows, num_groups, GROUP).astype(np.float32)
    values *= quantised.scales.astype(np.float32)[..., None]
    return values.reshape(rows, num_groups * GROUP)[:, : shape[-1]].reshape(shape)


def quantised_shapes(shape: tuple[int, ...], bits: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of the integers and the scales of a tensor of this `shape`."""
    num_rows, num_groups = int(np.prod(shape[:-1])), -(-shape[-1] // GROUP)
    return (num_rows, num_groups * GROUP * bits // 8), (num_rows, num_groups)


def _round_up(values: Vectors) -> npt.NDArray[np.float16]:
    # Up and not to the nearest: with a smaller scale the largest value of a group would not fit its integers.
    with np.errstate(over="ignore"):  # infinity is refused by name of the tensor, by those who know it
        rounded = values.astype(np.float16)
    return np.where(rounded.astype(np.float32) < values, np.nextafter(rounded, np.float16(np.inf)), rounded)


def _two_per_byte(integers: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    halves = (integers + _NIBBLE_ZERO).astype(np.uint8)
    return halves[:, 0::2] | (halves[:, 1::2] << np.uint8(4))


def _one_per_byte(pairs: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    integers = np.empty((len(pairs), pairs.shape[1] * 2), dtype=np.int8)
    integers[:, 0::2] = pairs & 0x0F
    integers[:, 1::2] = pairs >> 4
    integers -= np.int8(_NIBBLE_ZERO)
    return integers
