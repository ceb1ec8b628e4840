"""The engine against plain transformers: one text at a time, pooled by hand."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from rag_embedder.engine.device import resolve_device
from rag_embedder.engine.transformers import TransformersEngine
from rag_embedder.errors import ConfigError, VectorError
from tests.tiny_models import ARCHITECTURES, DIM, write_plain

TEXTS = ["the weather in Oslo", "x", "a dog and a cat play in the house " * 6, "", "naïve café 漢字 😀", "rain"]

BY_HAND = {
    "cls": lambda states: states[0],
    "mean": lambda states: states.mean(dim=0),
    "last": lambda states: states[-1],
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request, tmp_path_factory):
    return write_plain(tmp_path_factory.mktemp("engine") / request.param, request.param)


@pytest.mark.parametrize("pooling", BY_HAND)
def test_a_padded_batch_equals_one_text_at_a_time(folder, pooling):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tokenizer(TEXTS, truncation=True, max_length=128)["input_ids"]
    with torch.inference_mode():
        states = [model(torch.tensor([each])).last_hidden_state[0] for each in ids]
    expected = torch.stack([torch.nn.functional.normalize(BY_HAND[pooling](each), dim=0) for each in states])

    vectors = TransformersEngine.load(folder, pooling=pooling, device="cpu").encode(ids)

    assert vectors.shape == (len(TEXTS), DIM)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def engine(tiny_folder):
    return TransformersEngine.load(tiny_folder, pooling="mean", device="cpu")


def test_half_precision_stays_near_full_precision(engine, tiny_folder):
    ids = [[1, 700, 701, 702, 2], [1, 500, 2], [1, 90, 91, 92, 93, 94, 95, 2]]
    for dtype in ("bfloat16", "float16"):
        half = TransformersEngine.load(tiny_folder, pooling="mean", device="cpu", dtype=dtype)
        vectors = half.encode(ids)
        assert vectors.dtype == np.float32
        assert ((vectors * engine.encode(ids)).sum(axis=1) > 0.999).all()
        assert half.weights_hash() == engine.weights_hash()
        with pytest.raises(ConfigError, match=rf"held as torch.{dtype}.*Load the model with dtype='float32'"):
            half.check_can_save()


def test_the_weights_hash_changes_with_a_single_weight(tmp_path, engine, tiny_folder):
    model = AutoModel.from_pretrained(tiny_folder, dtype=torch.float32)
    with torch.no_grad():
        model.encoder.layer[1].output.dense.bias[3] += 1e-6
    changed = TransformersEngine(model, pooling="mean", device=torch.device("cpu"), dtype=torch.float32)
    assert changed.weights_hash() != engine.weights_hash()


def test_a_model_that_answers_nan_is_an_error_and_not_a_vector(tiny_folder):
    model = AutoModel.from_pretrained(tiny_folder, dtype=torch.float32)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[700] = float("nan")
    engine = TransformersEngine(model, pooling="mean", device=torch.device("cpu"), dtype=torch.float32)
    with pytest.raises(VectorError, match=r"NaN or infinity \(dtype torch.float32\)"):
        engine.encode([[1, 700, 2]])
    assert np.isfinite(engine.encode([[1, 701, 2]])).all()


def test_a_batch_too_large_for_the_device_is_halved(engine, monkeypatch):
    ids = [[1, number, 2] for number in range(100, 113)]
    expected = engine.encode(ids)
    forward = TransformersEngine._forward
    sizes = []

    def scarce(self, token_ids):
        sizes.append(len(token_ids))
        if len(token_ids) > 4:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return forward(self, token_ids)

    monkeypatch.setattr(TransformersEngine, "_forward", scarce)
    np.testing.assert_allclose(engine.encode(ids), expected, atol=1e-6)
    assert max(size for size in sizes if size <= 4) == 4


def test_one_text_too_large_for_the_device_is_an_error(engine, monkeypatch):
    def full(self, token_ids):
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(TransformersEngine, "_forward", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        engine.encode([[1, 2], [1, 2]])


def test_the_device_is_chosen_or_refused_with_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(resolve_device(name)) for name in ("auto", "cpu", "cuda", "cuda:1")] == [
        "cuda:0",
        "cpu",
        "cuda:0",
        "cuda:1",
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert str(resolve_device("auto")) == "cpu"
    for name in ("cuda", "cuda:1", "gpu", "", "CPU"):
        with pytest.raises(ConfigError, match=rf"device '{name}' is not here; expected 'auto' or one of: cpu"):
            resolve_device(name)


def test_an_unknown_dtype_is_refused_with_those_there_are(tiny_folder):
    with pytest.raises(ConfigError, match=r"unknown dtype 'int8'; expected one of: auto, float32, bfloat16, float16"):
        TransformersEngine.load(tiny_folder, pooling="mean", dtype="int8")
