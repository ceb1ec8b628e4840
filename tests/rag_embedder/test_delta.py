"""Delta folders: merged exactly as written, the same model as the folder saved from them, refused when damaged."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rag_embedder import Embedder, Scenario, model_source
from rag_embedder.errors import ConfigError, InputError, ModelLoadError
from rag_embedder.model_folder import write_delta
from rag_embedder.model_folder.delta_weights import merge_delta
from rag_embedder.model_source import BASE_HUB_ID
from tests.tiny_deltas import BIAS, DENSE, make_base, make_delta, settings_of, sha256_of, trained_weights
from tests.tiny_models import change_json

TEXTS = ["rain in oslo", "the green house", "where was the cat?"]


@pytest.fixture
def base(tmp_path, monkeypatch):
    return make_base(tmp_path / "base", monkeypatch)


@pytest.fixture
def delta(tmp_path, base):
    return make_delta(tmp_path / "delta", base)


def load(folder):
    return Embedder.load(folder, device="cpu")


def rewrite(delta, tensors):
    """Other tensors with the right checksum, as a wrong writer would make them."""
    save_file(tensors, delta / "delta.safetensors")
    change_json(delta / "delta.json", sha256=sha256_of(delta / "delta.safetensors"))


@pytest.mark.parametrize("bits", [8, 4])
def test_the_folder_saved_from_it_is_the_same_model(tmp_path, base, bits):
    embedder = load(make_delta(tmp_path / "delta", base, bits=bits))
    embedder.save(tmp_path / "whole")
    whole = load(tmp_path / "whole")
    assert whole.fingerprint == embedder.fingerprint != load(base).fingerprint
    assert (whole.name, whole.training_state, whole.max_length) == ("tiny-trained", "fitted for a test", 48)
    assert dict(whole.scenarios) == dict(embedder.scenarios)
    np.testing.assert_array_equal(whole.encode_queries(TEXTS, "law"), embedder.encode_queries(TEXTS, "law"))


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 1e-3), (4, 0.02)])
def test_weights_are_the_trained_ones_up_to_quantisation(tmp_path, base, bits, tolerance):
    weights = load_file(base / "model.safetensors")
    merge_delta(make_delta(tmp_path / "delta", base, bits=bits), weights)
    trained = trained_weights(base)
    np.testing.assert_allclose(weights[DENSE], trained[DENSE], atol=tolerance)
    np.testing.assert_allclose(weights[BIAS], trained[BIAS], atol=1e-7)


def test_a_merged_weight_is_a_rounded_product_and_then_a_rounded_sum(base, delta):
    stored = load_file(delta / "delta.safetensors")
    merged = load_file(base / "model.safetensors")
    before = {name: array.copy() for name, array in merged.items()}
    merge_delta(delta, merged)
    integers, scales = stored[f"{DENSE}.integers"], stored[f"{DENSE}.scales"]
    for row, column in [(0, 0), (3, 17), (31, 63)]:
        product = np.float32(float(scales[row, column // 64]) * int(integers[row, column]))
        expected = np.float32(float(before[DENSE][row, column]) + float(product))
        assert merged[DENSE][row, column] == expected != before[DENSE][row, column]
    np.testing.assert_array_equal(merged[BIAS], before[BIAS] + stored[f"{BIAS}.difference"])


def test_only_what_changed_is_written_and_nothing_else_moves(base, delta):
    assert sorted(load_file(delta / "delta.safetensors")) == sorted(
        [f"{BIAS}.difference", f"{DENSE}.integers", f"{DENSE}.scales"]
    )
    merged, before = load_file(base / "model.safetensors"), load_file(base / "model.safetensors")
    merge_delta(delta, merged)
    for name in before.keys() - {DENSE, BIAS}:
        np.testing.assert_array_equal(merged[name], before[name])


def test_settings_come_from_the_delta_and_the_base_file_is_left_alone(base, delta):
    before = sha256_of(base / "model.safetensors")
    embedder = load(delta)
    assert (embedder.name, embedder.max_length) == ("tiny-trained", 48)
    assert embedder.training_state == "fitted for a test"
    assert dict(embedder.scenarios) == {"qa": Scenario("qa"), "law": Scenario("law", "find the law: ", "law: ")}
    assert "fitted for a test" in repr(embedder)
    assert sha256_of(base / "model.safetensors") == before


def test_options_still_win_over_the_files(delta):
    embedder = Embedder.load(delta, device="cpu", instructions="llm-embedder", pooling="cls")
    assert len(embedder.scenarios) == 6
    assert embedder.fingerprint != Embedder.load(delta, device="cpu", instructions="llm-embedder").fingerprint


def test_the_shipped_delta_is_the_default_and_the_base_stays_the_base(monkeypatch, base, delta):
    monkeypatch.setattr(model_source, "SHIPPED", delta)
    default, plain = Embedder.load(device="cpu"), Embedder.load(BASE_HUB_ID, device="cpu")
    assert default.fingerprint == load(delta).fingerprint
    assert "untrained" not in repr(default)
    assert (plain.name, plain.training_state) == (BASE_HUB_ID, "as published")
    assert all(scenario.query_instruction == "" for scenario in plain.scenarios.values())


def test_a_shipped_delta_that_lost_a_file_is_not_replaced_by_the_base(monkeypatch, delta):
    monkeypatch.setattr(model_source, "SHIPPED", delta)
    (delta / "delta.json").unlink()
    (delta / "delta.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"delta.json is missing; expected it beside delta.safetensors. Copy"):
        Embedder.load()


@pytest.mark.parametrize("name", ["delta.json", "delta.safetensors"])
def test_a_missing_file_is_named(delta, name):
    (delta / name).unlink()
    with pytest.raises(ModelLoadError, match=rf"delta/{name} .*Copy the whole folder again"):
        load(delta)


@pytest.mark.parametrize("position", [0, 100, -1])
def test_one_flipped_bit_in_the_differences(delta, position):
    content = bytearray((delta / "delta.safetensors").read_bytes())
    content[position] ^= 1
    (delta / "delta.safetensors").write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"delta.safetensors has sha256 \w+; expected \w+ as recorded in delta.js"):
        load(delta)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "delta.json has format 2; this version reads 1. Upgrade"),
        ({"format": None}, "delta.json has format None"),
        ({"bits": 5}, "bits is 5; expected one of: 8, 4"),
        ({"bits": [8]}, r"bits is \[8\]; expected one of"),
        ({"pooling": "max"}, "pooling is 'max'; expected one of: cls, mean, last"),
        ({"max_length": 4}, "max_length is 4; expected an int of at least 8"),
        ({"max_length": 4096}, "max_length is 4096; expected at most 128, the positions of sentence-transformers/all"),
        ({"scenarios": {}}, "delta.json: scenarios is empty"),
        ({"scenarios": {"qa": "x"}}, "delta.json: scenarios must map a name to its query and document instruction"),
        ({"name": 5}, "name is 5; expected a text"),
        ({"sha256": None}, "sha256 is None; expected a text"),
        ({"base": "owner/other"}, "holds differences to owner/other .*expected sentence-transformers/all-MiniLM-L6-v2"),
        ({"base_sha256": "00"}, r"all-MiniLM-L6-v2 \(sha256 00\); expected .*Export the model again without --delta"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_with_its_key(delta, changes, message):
    change_json(delta / "delta.json", **changes)
    with pytest.raises(ModelLoadError, match=message):
        load(delta)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_header_that_is_no_json_object(delta, content):
    (delta / "delta.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"delta.json (cannot be read as JSON|holds list; expected dict)"):
        load(delta)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"x.y.difference": t[f"{BIAS}.difference"]}, r"changes x\.y, which the base .* does not have"),
        (lambda t: t | {"x.y": t[f"{BIAS}.difference"]}, r"has a tensor x\.y; expected names ending in \.integers"),
        (
            lambda t: {k: v for k, v in t.items() if not k.endswith("scales")},
            r"is stored as integers int8 \(32, 64\); ",
        ),
        (lambda t: t | {f"{DENSE}.scales": t[f"{DENSE}.scales"][:9]}, r"scales float16 \(9, 1\); expected integers in"),
        (lambda t: t | {f"{BIAS}.difference": np.zeros(5, np.float32)}, r"difference float32 \(5,\); expected differe"),
        (
            lambda t: t | {f"{BIAS}.difference": np.zeros(32, np.float64)},
            r"difference float64 \(32,\); expected differ",
        ),
    ],
)
def test_tensors_that_do_not_fit_the_base_are_named(delta, change, message):
    rewrite(delta, change(load_file(delta / "delta.safetensors")))
    with pytest.raises(ModelLoadError, match=message):
        load(delta)


def test_a_header_of_other_bits_than_the_tensors(delta):
    change_json(delta / "delta.json", bits=4)
    with pytest.raises(
        ModelLoadError, match=rf"{DENSE} is stored as integers int8 .* expected integers uint8 .*4 bits"
    ):
        load(delta)


def test_differences_that_are_no_safetensors(delta):
    (delta / "delta.safetensors").write_bytes(b"other bytes")
    change_json(delta / "delta.json", sha256=sha256_of(delta / "delta.safetensors"))
    with pytest.raises(ModelLoadError, match=r"delta.safetensors cannot be read as safetensors"):
        load(delta)


def test_nothing_is_merged_when_one_tensor_is_refused(base, delta):
    tensors = load_file(delta / "delta.safetensors")
    rewrite(delta, tensors | {"zzz.difference": tensors[f"{BIAS}.difference"]})
    weights = load_file(base / "model.safetensors")
    with pytest.raises(ModelLoadError, match="changes zzz"):
        merge_delta(delta, weights)
    np.testing.assert_array_equal(weights[BIAS], load_file(base / "model.safetensors")[BIAS])


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN or infinity"), (1e8, r"up to 1e\+08; expected less than 450000")]
)
def test_weights_that_cannot_be_written_are_refused_and_nothing_is_left(tmp_path, base, value, message):
    trained = trained_weights(base)
    trained[DENSE][2, 2] = value
    with pytest.raises(InputError, match=f"tensor {DENSE} differs .*{message}"):
        write(tmp_path / "new", base, trained)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_weights_of_another_shape_and_a_folder_that_is_taken_are_refused(tmp_path, base, delta):
    trained = trained_weights(base)
    with pytest.raises(ConfigError, match="already exists and is not an empty folder"):
        write(delta, base, trained)
    del trained[DENSE]
    with pytest.raises(InputError, match="with other names or shapes than the"):
        write(tmp_path / "new", base, trained)


def test_the_header_is_as_documented(base, delta):
    content = json.loads((delta / "delta.json").read_text())
    assert list(content) == [
        *("format", "base", "base_sha256", "bits", "sha256", "name", "training_state", "pooling", "max_length"),
        "scenarios",
    ]
    assert content["base_sha256"] == sha256_of(base / "model.safetensors")
    assert content["scenarios"]["law"] == {"query": "find the law: ", "document": "law: "}


def write(folder, base, trained):
    write_delta(
        folder,
        settings_of(base),
        base=BASE_HUB_ID,
        base_sha256="00",
        base_weights=load_file(base / "model.safetensors"),
        trained_weights=trained,
        bits=8,
    )
