"""A damaged or incomplete model is an error that names the file, and never a model with random weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from rag_embedder import Embedder
from rag_embedder.errors import ModelLoadError
from tests.tiny_models import change_json, make_sentence_transformer, write_tensors

DENSE = "encoder.layer.1.output.dense.weight"


@pytest.fixture
def folder(tmp_path, tiny_folder):
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.fixture
def weights(folder):
    return folder / "model.safetensors"


def refuses(folder, message):
    return pytest.raises(ModelLoadError, match=message)


@pytest.mark.parametrize("kept", [0, 5, 500, 0.5, 0.999])
def test_truncated_weights(folder, weights, kept):
    content = weights.read_bytes()
    weights.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with refuses(folder, r"model/model.safetensors cannot be read as safetensors.*truncated or damaged"):
        Embedder.load(folder)


@pytest.mark.parametrize("position", [0, 3, 8, 20])
def test_a_damaged_header(folder, weights, position):
    content = bytearray(weights.read_bytes())
    content[position] ^= 0xFF
    weights.write_bytes(content)
    with refuses(folder, r"model/model.safetensors cannot be read as safetensors"):
        Embedder.load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_one_flipped_bit_anywhere_in_a_saved_model(tmp_path, embedder, name):
    embedder.save(tmp_path / "saved")
    path = tmp_path / "saved" / name
    content = bytearray(path.read_bytes())
    # In the low digits of a weight or of a number: the file stays well formed, only the vectors would be wrong.
    position = -2 if name == "model.safetensors" else max(content.rfind(b"%d" % digit) for digit in (2, 4, 6))
    content[position] ^= 1
    path.write_bytes(content)
    with refuses(path.parent, rf"saved/{name} has sha256 \w+; expected \w+ as recorded in rag_embedder.json"):
        Embedder.load(path.parent)


def test_a_missing_tensor_is_named(folder, weights):
    tensors = load_file(weights)
    del tensors[DENSE]
    write_tensors(weights, tensors)
    with refuses(folder, rf"weights in .*model do not fit its config.json: 1 tensors missing.*{DENSE}"):
        Embedder.load(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder, weights):
    write_tensors(weights, {**load_file(weights), DENSE: torch.zeros(3, 3)})
    with refuses(folder, rf"config.json: .*1 of the wrong shape .*{DENSE} \(3, 3\) instead of \(32, 64\)"):
        Embedder.load(folder)


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 3}, {"hidden_size": 64}, {"vocab_size": 50}])
def test_a_config_that_does_not_belong_to_the_weights(folder, changes):
    change_json(folder / "config.json", **changes)
    with refuses(folder, r"do not fit its config.json"):
        Embedder.load(folder)


def test_a_pooler_is_not_needed(folder, weights, tiny_folder):
    write_tensors(weights, {name: each for name, each in load_file(weights).items() if "pooler" not in name})
    assert Embedder.load(folder).fingerprint == Embedder.load(tiny_folder).fingerprint


def test_a_vocabulary_larger_than_the_embeddings(folder, weights):
    table = "embeddings.word_embeddings.weight"
    tensors = load_file(weights)
    write_tensors(weights, {**tensors, table: tensors[table][:100].clone()})
    change_json(folder / "config.json", vocab_size=100)
    with refuses(folder, rf"tokenizer in .*model has {len(tensors[table])} ids but the model embeds 100"):
        Embedder.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with refuses(folder, name.replace(".", r"\.")):
        Embedder.load(folder)


@pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json"])
def test_a_broken_file_of_sentence_transformers_is_named(folder, name):
    make_sentence_transformer(folder)
    (folder / name).write_text("{")
    with refuses(folder, f"{name} cannot be read as JSON"):
        Embedder.load(folder)


def test_a_missing_shard(folder, weights):
    weights.rename(folder / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {DENSE: "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with refuses(folder, r"cannot load the model in .*00002-of-00002"):
        Embedder.load(folder)


def test_an_empty_folder(tmp_path):
    with refuses(tmp_path, r"config.json is missing"):
        Embedder.load(tmp_path)


def test_an_unknown_architecture(folder):
    change_json(folder / "config.json", model_type="nosuch")
    with refuses(folder, r"cannot load the model in .*nosuch"):
        Embedder.load(folder)
