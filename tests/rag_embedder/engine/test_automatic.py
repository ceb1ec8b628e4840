"""Which engine and number format a model gets where none is asked for."""

import pytest
import torch

from rag_embedder import Embedder
from rag_embedder.engine import automatic, packed
from rag_embedder.engine.automatic import AutomaticEngine
from rag_embedder.engine.packed import PackedEngine
from rag_embedder.engine.transformers import TransformersEngine
from tests.tiny_models import change_json, write_plain


@pytest.fixture
def half(monkeypatch):
    """A machine that is fast in bfloat16, for models of any width."""
    monkeypatch.setattr(packed, "fastest_dtype", lambda device: torch.bfloat16)
    monkeypatch.setattr(automatic, "_SMALL", 0)


def load(folder, **options):
    return AutomaticEngine.load(folder, pooling="mean", device="cpu", **options)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_what_can_be_packed_is(tmp_path, half, architecture):
    engine = load(write_plain(tmp_path / "model", architecture))
    assert isinstance(engine, PackedEngine)
    assert engine.dtype == "bfloat16"
    assert load(tmp_path / "model", dtype="float32").dtype == "float32"


@pytest.mark.parametrize("architecture", ["mpnet", "distilbert"])
def test_others_get_the_reference_in_float32(tmp_path, half, architecture):
    engine = load(write_plain(tmp_path / "model", architecture))
    assert isinstance(engine, TransformersEngine)
    assert engine.dtype == "float32"


def test_encoders_that_read_otherwise_get_the_reference(tmp_path, half):
    folder = write_plain(tmp_path / "model")
    change_json(folder / "config.json", is_decoder=True)
    assert isinstance(load(folder), TransformersEngine)


def test_a_narrow_model_is_computed_in_float32(tmp_path, half, monkeypatch):
    folder = write_plain(tmp_path / "model")
    monkeypatch.setattr(automatic, "_SMALL", 128)
    assert load(folder).dtype == "float32"
    assert load(folder, dtype="bfloat16").dtype == "bfloat16"


def test_a_format_that_does_not_agree_with_float32_is_not_used(tmp_path, half, monkeypatch):
    folder = write_plain(tmp_path / "model")
    pooled = packed._pooled
    monkeypatch.setattr(
        packed, "_pooled", lambda network, texts: pooled(network, texts) * (1 if network.dtype == torch.float32 else -1)
    )
    assert load(folder).dtype == "float32"

    def fails(network, texts):
        if network.dtype != torch.float32:
            raise RuntimeError("no such kernel")
        return pooled(network, texts)

    monkeypatch.setattr(packed, "_pooled", fails)
    assert load(folder).dtype == "float32"


def test_an_embedder_takes_it(tmp_path, half):
    folder = write_plain(tmp_path / "model")
    chosen = Embedder.load(folder, device="cpu", pooling="mean")
    exact = Embedder.load(folder, device="cpu", pooling="mean", engine="transformers")
    assert (chosen.dtype, exact.dtype) == ("bfloat16", "float32")
    assert chosen.fingerprint == exact.fingerprint
    texts = ["rain in oslo", "the green house"]
    assert (chosen.encode_queries(texts) * exact.encode_queries(texts)).sum(axis=1).min() >= 0.999
