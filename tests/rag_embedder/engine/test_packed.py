"""The packed engine against the reference, on the same weights and texts."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from transformers import AutoModel

from rag_embedder import Embedder
from rag_embedder.engine import precision, products
from rag_embedder.engine.bert import PackedBert
from rag_embedder.engine.packed import PackedEngine
from rag_embedder.engine.packing import Packing, filled_length
from rag_embedder.engine.transformers import TransformersEngine
from rag_embedder.errors import ConfigError, ModelLoadError, VectorError
from tests.tiny_deltas import make_base, make_delta
from tests.tiny_models import POSITIONS, change_json, make_sentence_transformer, write_plain

FIRST, LAST = 5, 250  # ids of plain tokens in every tiny vocabulary
HALF = ("bfloat16", "float16")


def texts_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(FIRST, LAST, length).tolist() for length in lengths]


MIXED = texts_of([7, 1, POSITIONS, 7, 30, 1, 2, 7, 64, 3])


@pytest.fixture(scope="module", params=["bert", "roberta", "xlm-roberta"])
def folder(request, tmp_path_factory):
    made = write_plain(tmp_path_factory.mktemp("packed") / "model", request.param.removeprefix("xlm-"))
    change_json(made / "config.json", model_type=request.param)
    return made


@pytest.fixture(scope="module")
def engines(tiny_folder):
    kinds = (TransformersEngine, PackedEngine)
    return [kind.load(tiny_folder, pooling="mean", device="cpu") for kind in kinds]


def cosines(left, right):
    return (left * right).sum(axis=1)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("normalize", [True, False])
def test_float32_equals_the_reference(folder, pooling, normalize):
    reference, packed = (
        kind.load(folder, pooling=pooling, normalize=normalize, device="cpu")
        for kind in (TransformersEngine, PackedEngine)
    )
    vectors = packed.encode(MIXED)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, reference.encode(MIXED), atol=1e-5)
    assert packed.weights_hash() == reference.weights_hash()
    assert (packed.dim, packed.vocabulary_size) == (reference.dim, reference.vocabulary_size)
    assert packed.is_normalized is normalize


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_stays_near_the_reference(folder, dtype):
    reference = TransformersEngine.load(folder, pooling="mean", device="cpu")
    packed = PackedEngine.load(folder, pooling="mean", device="cpu", dtype=dtype)
    near = cosines(packed.encode(MIXED), reference.encode(MIXED))
    assert near.mean() >= 0.9999
    assert near.min() >= 0.999
    assert packed.dtype == dtype


def test_half_precision_without_reordered_weights_is_near_too(engines, tiny_folder, monkeypatch):
    monkeypatch.setattr(products, "cpu_has_bfloat16", lambda: False)
    plain = PackedEngine.load(tiny_folder, pooling="mean", device="cpu", dtype="bfloat16")
    near = cosines(plain.encode(MIXED), engines[0].encode(MIXED))
    assert near.mean() >= 0.9999
    assert near.min() >= 0.999


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, POSITIONS), min_size=1, max_size=12), st.integers(0, 99))
def test_any_lengths_in_any_order_give_the_vectors_of_the_reference(engines, lengths, seed):
    reference, packed = engines
    texts = texts_of(lengths, seed)
    np.testing.assert_allclose(packed.encode(texts), reference.encode(texts), atol=1e-5)


def test_a_vector_is_that_of_the_text_alone(engines, tiny_folder):
    half = PackedEngine.load(tiny_folder, pooling="mean", device="cpu", dtype="bfloat16")
    together, half_together = engines[1].encode(MIXED), half.encode(MIXED)
    for position, text in enumerate(MIXED):
        np.testing.assert_allclose(engines[1].encode([text])[0], together[position], atol=1e-5)
        assert half.encode([text])[0] @ half_together[position] >= 0.9999


def test_texts_are_filled_up_to_what_the_processor_computes_at_once_where_that_is_little():
    assert [filled_length(length) for length in (1, 12, 14, 31, 33, 127, 128, 129, 250)] == [
        *(1, 12, 16, 32, 33, 128, 128, 144, 256)
    ]
    packing = Packing.filled_up([31, 30, 12, 12], torch.device("cpu"), torch.float32)
    assert [(span.start, span.count, span.length) for span in packing.spans] == [(0, 2, 32), (64, 2, 12)]
    assert packing.spans[0].is_own(torch.device("cpu")).sum(dim=1).tolist() == [31, 30]
    assert packing.masks[1] is None
    added = packing.masks[0]
    assert added is not None
    assert added[:, 0, 0, 29:].tolist() == [[0, 0, -torch.inf], [0, -torch.inf, -torch.inf]]


def test_a_text_is_not_filled_beyond_the_models_positions(tmp_path):
    folder, last = write_plain(tmp_path / "model"), 90
    weights = load_file(folder / "model.safetensors")
    name = "embeddings.position_embeddings.weight"
    save_file(weights | {name: weights[name][:last]}, folder / "model.safetensors")
    change_json(folder / "config.json", max_position_embeddings=last)
    texts = texts_of([last, last - 1])
    reference, packed = (kind.load(folder, pooling="mean", device="cpu") for kind in (TransformersEngine, PackedEngine))
    np.testing.assert_allclose(packed.encode(texts), reference.encode(texts), atol=1e-5)


def test_a_padding_id_inside_of_a_text_has_the_position_the_reference_gives_it(tmp_path):
    folder = write_plain(tmp_path / "roberta", "roberta")
    pad = AutoModel.from_pretrained(folder).config.pad_token_id
    texts = [[9, pad, 11, 12], [pad, 8], [7, 7, 7]]
    reference, packed = (kind.load(folder, pooling="mean", device="cpu") for kind in (TransformersEngine, PackedEngine))
    np.testing.assert_allclose(packed.encode(texts), reference.encode(texts), atol=1e-5)


def test_another_activation_is_computed_as_it_is(tmp_path):
    folder = write_plain(tmp_path / "relu")
    gelu = PackedEngine.load(folder, pooling="mean", device="cpu").encode(MIXED)
    change_json(folder / "config.json", hidden_act="relu")
    reference = TransformersEngine.load(folder, pooling="mean", device="cpu").encode(MIXED)
    assert abs(gelu - reference).max() > 1e-3
    exact = PackedEngine.load(folder, pooling="mean", device="cpu").encode(MIXED)
    np.testing.assert_allclose(exact, reference, atol=1e-5)
    half = PackedEngine.load(folder, pooling="mean", device="cpu", dtype="bfloat16").encode(MIXED)
    assert cosines(half, reference).min() >= 0.999


@pytest.mark.parametrize("architecture", ["mpnet", "distilbert"])
def test_another_architecture_is_refused_with_what_to_use(tmp_path, architecture):
    folder = write_plain(tmp_path / architecture, architecture)
    with pytest.raises(ConfigError, match=rf"bert, roberta, xlm-roberta.*got {architecture}.*engine='transformers'"):
        PackedEngine.load(folder, pooling="mean", device="cpu")


def test_a_decoder_of_a_known_architecture_is_refused(tmp_path):
    folder = write_plain(tmp_path / "decoder")
    change_json(folder / "config.json", is_decoder=True)
    with pytest.raises(ConfigError, match="got bert decoder"):
        PackedEngine.load(folder, pooling="mean", device="cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_answers_nan_is_an_error_and_not_a_vector(tiny_folder, tmp_path, dtype):
    shutil.copytree(tiny_folder, tmp_path / "broken")
    weights = load_file(tiny_folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][700] = float("nan")
    save_file(weights, tmp_path / "broken" / "model.safetensors")
    engine = PackedEngine.load(tmp_path / "broken", pooling="mean", device="cpu", dtype=dtype)
    with pytest.raises(VectorError, match=rf"NaN or infinity \(dtype torch.{dtype}\)"):
        engine.encode([[1, 700, 2], [1, 2]])
    assert np.isfinite(engine.encode([[1, 701, 2]])).all()


def test_a_batch_too_large_for_the_device_is_halved(engines, monkeypatch):
    expected = engines[1].encode(MIXED)
    states, sizes = PackedBert.states, []

    def scarce(self, token_ids):
        sizes.append(len(token_ids))
        if len(token_ids) > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return states(self, token_ids)

    monkeypatch.setattr(PackedBert, "states", scarce)
    np.testing.assert_allclose(engines[1].encode(MIXED), expected, atol=1e-5)
    assert sizes[0] == len(MIXED)
    assert max(size for size in sizes if size <= 3) == 3


def test_auto_is_what_the_processor_is_fast_in(tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for capabilities, expected in (
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bfloat16"),
        ({"avx512_fp16": True, "avx2": True}, "float32"),
        ({}, "float32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert str(precision.fastest_dtype(torch.device("cpu"))) == f"torch.{expected}"
    assert PackedEngine.load(tiny_folder, pooling="mean", device="cpu", dtype="auto").dtype == "float32"
    assert precision.fastest_dtype(torch.device("mps")) == torch.float32
    for answer, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, found=answer: found)
        assert precision.fastest_dtype(torch.device("cuda:0")) == expected


def test_auto_does_not_use_what_torch_was_told_to_leave(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    for level, expected in (("AVX512", torch.bfloat16), ("AVX2", torch.float32), ("DEFAULT", torch.float32)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda found=level: found)
        assert precision.fastest_dtype(torch.device("cpu")) == expected


def test_an_unknown_dtype_is_refused_with_those_there_are(tiny_folder):
    with pytest.raises(ConfigError, match=r"unknown dtype 'int8'; expected one of: auto, float32, bfloat16, float16"):
        PackedEngine.load(tiny_folder, pooling="mean", dtype="int8")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = make_sentence_transformer(write_plain(tmp_path_factory.mktemp("models") / "tiny"), pooling="cls")
    return [
        Embedder.load(folder, device="cpu", engine=engine, dtype="float32") for engine in ("transformers", "packed")
    ]


def test_an_embedder_gives_the_same_vectors_and_fingerprint_with_either_engine(both):
    texts = ["rain", "", "a dog and a cat " * 12, "the capital of norway"] * 11
    reference, packed = both
    np.testing.assert_allclose(packed.encode_documents(texts), reference.encode_documents(texts), atol=1e-5)
    np.testing.assert_allclose(packed.encode_queries(["rain"]), reference.encode_queries(["rain"]), atol=1e-5)
    assert packed.fingerprint == reference.fingerprint
    assert packed.dtype == reference.dtype == "float32"


def test_batches_are_bounded_by_their_tokens_and_never_by_padding(both, monkeypatch):
    packed = both[1]
    sizes, encode = [], packed._engine.encode
    monkeypatch.setattr(packed._engine, "encode", lambda ids: sizes.append(sum(map(len, ids))) or encode(ids))
    packed.encode_documents(["rain"] * 600 + ["a dog and a cat " * 12])
    assert sum(sizes) == 600 * 3 + 12 * 5 + 2
    assert len(sizes) == 2  # 31 batches, if every text were padded to the longest of them
    assert max(sizes) <= packed._engine.batch_tokens


def test_a_saved_model_is_that_of_the_reference(both, tmp_path):
    reference, packed = both
    reference.save(tmp_path / "one")
    packed.save(tmp_path / "two")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        np.testing.assert_array_equal(weight, two[name])
    assert Embedder.load(tmp_path / "two", device="cpu", engine="packed").fingerprint == reference.fingerprint


def test_an_encoder_in_half_precision_is_saved_in_float32(both, tmp_path):
    reference = both[0]
    half = Embedder.load(reference._folder, device="cpu", engine="packed", dtype="bfloat16")
    half.save(tmp_path / "saved")
    saved = Embedder.load(tmp_path / "saved", device="cpu", engine="transformers", dtype="float32")
    assert saved.fingerprint == reference.fingerprint
    texts = ["rain", "the capital of norway"]
    np.testing.assert_array_equal(saved.encode_queries(texts), reference.encode_queries(texts))


def test_weights_that_changed_since_they_were_loaded_are_not_saved(tmp_path):
    folder = write_plain(tmp_path / "model")
    engine = PackedEngine.load(folder, pooling="mean", device="cpu")
    shutil.copy(write_plain(tmp_path / "other", seed=1) / "model.safetensors", folder)
    with pytest.raises(ModelLoadError, match="others than those that were loaded"):
        engine.write_weights(tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_delta_is_added_before_the_weights_are_taken(tmp_path, monkeypatch):
    base = make_base(tmp_path / "base", monkeypatch)
    delta = make_delta(tmp_path / "delta", base)
    texts = ["the weather in oslo", "law and order"]
    trained, packed = (
        Embedder.load(delta, device="cpu", engine=engine, dtype="float32") for engine in ("transformers", "packed")
    )
    plain = Embedder.load(
        base, device="cpu", engine="packed", dtype="float32", instructions=list(trained.scenarios.values())
    )
    np.testing.assert_allclose(packed.encode_queries(texts), trained.encode_queries(texts), atol=1e-5)
    assert abs(packed.encode_queries(texts) - plain.encode_queries(texts)).max() > 1e-4
    assert packed.fingerprint == trained.fingerprint
