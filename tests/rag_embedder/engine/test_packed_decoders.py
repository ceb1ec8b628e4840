"""Decoders in the packed engine against the reference, on the same weights and texts."""

import numpy as np
import pytest
import torch

from rag_embedder import Embedder
from rag_embedder.engine.packed import PackedEngine
from rag_embedder.engine.packing import Packing, attend
from rag_embedder.engine.transformers import TransformersEngine
from rag_embedder.errors import ConfigError
from tests.tiny_decoders import SLOTS, write_adapter, write_decoder
from tests.tiny_models import change_json

TEXTS = ["a dog", "what is the capital of norway ?", "dog", "the big city of paris is in france , a river is in it"] * 3


@pytest.fixture(scope="module", params=["llama", "mistral"])
def folder(request, tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("packed") / request.param, request.param, slots=SLOTS)


def texts_of(lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(5, 200, length).tolist() for length in lengths]


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("num_slots", [1, 3])
def test_float32_equals_the_reference(folder, pooling, num_slots):
    ids = texts_of([7, 3, 90, 7, 30, 4, 5, 7, 64, 3])
    reference, packed = (
        kind.load(folder, pooling=pooling, num_slots=num_slots, device="cpu")
        for kind in (TransformersEngine, PackedEngine)
    )
    np.testing.assert_allclose(packed.encode(ids), reference.encode(ids), atol=1e-5)
    assert packed.weights_hash() == reference.weights_hash()
    assert not packed.pads


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_the_reference(folder, dtype):
    reference = Embedder.load(folder, prompt_form="llara", device="cpu")
    packed = Embedder.load(folder, prompt_form="llara", device="cpu", engine="packed", dtype=dtype)
    near = (packed.encode_queries(TEXTS) * reference.encode_queries(TEXTS)).sum(axis=1)
    assert near.min() > 0.995
    assert packed.fingerprint == reference.fingerprint
    with pytest.raises(ConfigError, match="has lost digits"):
        packed.save(folder / "never")


def test_adapters_and_forms_come_along(folder, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", folder)
    plain, packed = (
        Embedder.load(adapter, prompt_form="repllama", device="cpu", engine=engine, dtype="float32")
        for engine in ("transformers", "packed")
    )
    np.testing.assert_allclose(packed.encode_documents(TEXTS), plain.encode_documents(TEXTS), atol=1e-5)
    packed.save(tmp_path / "saved")
    assert Embedder.load(tmp_path / "saved", device="cpu").fingerprint == plain.fingerprint


def test_other_decoders_are_refused(tmp_path):
    folder = write_decoder(tmp_path / "model", "gpt2")
    with pytest.raises(ConfigError, match=r"engine 'packed' computes bert.*got gpt2"):
        Embedder.load(folder, engine="packed", device="cpu")


def test_several_slots_of_an_encoder_are_pooled_too(tiny_folder):
    ids = texts_of([7, 12, 5])
    reference, packed = (
        kind.load(tiny_folder, pooling="last", num_slots=2, device="cpu") for kind in (TransformersEngine, PackedEngine)
    )
    np.testing.assert_allclose(packed.encode(ids), reference.encode(ids), atol=1e-5)


@pytest.mark.parametrize("window", [None, 1, 3, 9])
def test_attention_sees_itself_and_what_came_before_within_the_window(window):
    lengths = [5, 5, 2]
    row = torch.randn(sum(lengths), 3, 2, 4, generator=torch.Generator().manual_seed(0))
    out = attend(row, Packing.of(lengths, torch.device("cpu")), is_causal=True, window=window, scale=0.3)
    start = 0
    for length in lengths:
        for place in range(start, start + length):
            first = max(start, place + 1 - (window or length))
            query, keys, values = row[place, 0], row[first : place + 1, 1], row[first : place + 1, 2]
            weights = (0.3 * torch.einsum("hd,khd->hk", query, keys)).softmax(-1)
            expected = torch.einsum("hk,khd->hd", weights, values).flatten()
            torch.testing.assert_close(out[place], expected)
        start += length


def test_a_config_with_another_window_changes_vectors(tmp_path):
    folder = write_decoder(tmp_path / "model", "mistral")
    narrow = Embedder.load(folder, engine="packed", device="cpu").encode_documents(TEXTS)
    change_json(folder / "config.json", sliding_window=200)
    wide = Embedder.load(folder, engine="packed", device="cpu").encode_documents(TEXTS)
    assert abs(wide[3] - narrow[3]).max() > 1e-3
    np.testing.assert_allclose(wide[0], narrow[0], atol=1e-6)
