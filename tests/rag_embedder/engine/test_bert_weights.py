"""Weights read straight from their file are those that transformers loads, and what is not plain is left to it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rag_embedder.engine.bert_weights import read_bert_weights
from rag_embedder.engine.packed import PackedEngine
from rag_embedder.engine.transformers import TransformersEngine
from rag_embedder.engine.weights_hash import hash_weights
from rag_embedder.errors import ModelLoadError
from tests.tiny_models import change_json, make_sentence_transformer, write_plain

TEXTS = [[5, 6, 7], [9] * 20]


@pytest.fixture
def folder(tmp_path):
    return write_plain(tmp_path / "model")


def rewrite(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors), path, metadata={"format": "pt"})


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_they_are_those_that_transformers_loads(tmp_path, architecture):
    folder = write_plain(tmp_path / "model", architecture)
    weights = read_bert_weights(folder)
    reference = TransformersEngine.load(folder, pooling="mean", device="cpu")
    assert weights is not None
    assert hash_weights(sorted(weights.tensors.items())) == reference.weights_hash()
    loaded = reference.model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in weights.tensors.items())
    assert {name for name in loaded if not name.startswith("pooler.")} == weights.tensors.keys()


def test_a_head_in_front_of_names_and_half_precision_on_disk_are_read(folder):
    expected = PackedEngine.load(folder, pooling="mean", device="cpu").encode(TEXTS)
    rewrite(folder, lambda tensors: {f"bert.{name}": tensor.half() for name, tensor in tensors.items()})
    weights = read_bert_weights(folder)
    assert weights is not None
    assert {tensor.dtype for tensor in weights.tensors.values()} == {torch.float32}
    np.testing.assert_allclose(
        PackedEngine.load(folder, pooling="mean", device="cpu").encode(TEXTS), expected, atol=2e-3
    )


@pytest.mark.parametrize("name", ["pad_token_id", "layer_norm_eps", "hidden_act", "vocab_size"])
def test_a_default_of_transformers_is_left_to_transformers(folder, name):
    expected = PackedEngine.load(folder, pooling="mean", device="cpu").encode(TEXTS)
    assert read_bert_weights(folder) is not None
    change_json(folder / "config.json", **{name: None})
    assert read_bert_weights(folder) is None
    if name == "pad_token_id":
        np.testing.assert_array_equal(PackedEngine.load(folder, pooling="mean", device="cpu").encode(TEXTS), expected)


def test_names_of_old_are_left_to_transformers(folder):
    expected = PackedEngine.load(folder, pooling="mean", device="cpu").encode(TEXTS)

    def of_old(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    rewrite(folder, lambda tensors: {of_old(name): tensor for name, tensor in tensors.items()})
    assert read_bert_weights(folder) is None
    np.testing.assert_array_equal(PackedEngine.load(folder, pooling="mean", device="cpu").encode(TEXTS), expected)


def test_missing_and_wrong_tensors_are_refused_as_by_the_reference(folder):
    rewrite(folder, lambda tensors: {name: each for name, each in tensors.items() if "layer.1.output" not in name})
    assert read_bert_weights(folder) is None
    with pytest.raises(ModelLoadError, match=r"4 tensors missing.*encoder\.layer\.1\.output\.LayerNorm\.bias"):
        PackedEngine.load(folder, pooling="mean", device="cpu")
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert read_bert_weights(folder) is None
    (folder / "model.safetensors").unlink()
    assert read_bert_weights(folder) is None


def test_an_encoder_is_loaded_and_used_without_importing_transformers(tmp_path):
    folder = make_sentence_transformer(write_plain(tmp_path / "tiny"), pooling="mean")
    program = (
        "import sys; from rag_embedder import Embedder\n"
        f"Embedder.load({str(folder)!r}, device='cpu').encode_queries(['rain'])\n"
        "sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
