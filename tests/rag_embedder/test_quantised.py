"""Quantised tensors: exact where they can be, off by half a step where not, and the same bits on every machine."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_embedder.model_folder.quantised import GROUP, LARGEST, dequantise, quantise, quantised_shapes

shapes = st.tuples(st.integers(1, 4), st.integers(1, 140)) | st.tuples(st.just(2), st.just(3), st.integers(1, 70))


@pytest.mark.parametrize("bits", LARGEST)
@given(shape=shapes, seed=st.integers(0, 2**32), exponent=st.integers(-12, 3), zeros=st.sampled_from([0.0, 0.5, 1.0]))
def test_values_come_back_within_half_a_step_and_zeros_exactly(bits, shape, seed, exponent, zeros):
    rng = np.random.default_rng(seed)
    values = (rng.normal(0, 10.0**exponent, shape) * (rng.random(shape) >= zeros)).astype(np.float32)
    quantised = quantise(values, bits)
    again = dequantise(quantised, values.shape)
    assert (again.shape, again.dtype) == (values.shape, np.float32)
    assert (quantised.integers.shape, quantised.scales.shape) == quantised_shapes(values.shape, bits)
    steps = np.repeat(quantised.scales.astype(np.float64), GROUP, axis=1)[:, : values.shape[-1]].reshape(values.shape)
    assert (np.abs(again.astype(np.float64) - values) <= steps * 0.5001).all()
    assert (again[values == 0] == 0).all()


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (4, 7)])
def test_multiples_of_a_scale_come_back_exactly(bits, largest):
    values = (np.arange(-largest, largest + 1) / 32).astype(np.float32)[None, :GROUP]
    np.testing.assert_array_equal(dequantise(quantise(values, bits), values.shape), values)


def test_each_group_of_64_columns_has_its_own_scale():
    values = np.zeros((2, 130), dtype=np.float32)
    values[0, 63], values[0, 64], values[1, 129] = 127.0, -254.0, 63.5
    np.testing.assert_array_equal(quantise(values, 8).scales, np.array([[1, 2, 0], [0, 0, 0.5]], dtype=np.float16))
    np.testing.assert_array_equal(dequantise(quantise(values, 8), values.shape), values)


def test_four_bits_lie_in_pairs_the_even_column_low():
    values = np.array([[7, -7, 1, 0, -2]], dtype=np.float32)
    quantised = quantise(values, 4)
    assert quantised.integers.dtype == np.uint8
    assert quantised.integers.shape == (1, 32)
    assert [f"{byte:02x}" for byte in quantised.integers[0, :4]] == ["1f", "89", "86", "88"]


def test_a_scale_is_rounded_up_so_that_the_largest_value_fits():
    values = np.full((1, 64), 0.1234567, dtype=np.float32)
    quantised = quantise(values, 8)
    assert float(quantised.scales[0, 0]) * 127 >= 0.1234567
    assert quantised.integers.max() == 127


def test_differences_too_small_for_a_float16_are_kept_or_become_zero():
    values = np.array([[1e-9, -3e-8, 6e-8, 2e-7]], dtype=np.float32)
    again = dequantise(quantise(values, 8), values.shape)
    assert np.abs(again - values).max() <= 2.0**-25


def test_each_product_is_one_rounded_float32_multiplication():
    values = np.random.default_rng(5).normal(0, 0.01, (3, 64)).astype(np.float32)
    quantised = quantise(values, 8)
    expected = [
        [np.float32(float(scale) * int(integer)) for integer in row]  # exact in float64, then rounded once
        for row, scale in zip(quantised.integers, quantised.scales[:, 0], strict=True)
    ]
    np.testing.assert_array_equal(dequantise(quantised, values.shape), np.array(expected, dtype=np.float32))
