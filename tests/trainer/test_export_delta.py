"""Exported deltas: the trained model up to quantisation, over the public base and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from rag_embedder import Embedder
from rag_embedder.errors import ConfigError
from rag_embedder.model_source import BASE_HUB_ID
from tests.cosine_change import cosine_change
from tests.tiny_deltas import make_base, make_delta, sha256_of
from tests.trainer.fit_cases import make_recipe
from trainer.export import app, export_checkpoint
from trainer.fit import fit_recipe
from trainer.model import TrainableEncoder

TEXTS = ["where was Ada born?", "rain in oslo", "the green house"]


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A tiny model that is taken for the public base."""
    folder = make_base(tmp_path / "public", monkeypatch)
    monkeypatch.setattr("trainer.export.base_folder", lambda: folder)
    monkeypatch.setattr("trainer.export.BASE_SHA256", sha256_of(folder / "model.safetensors"))
    return folder


def fit_from(tmp_path, model, *, lora_rank=0, **train):
    recipe = make_recipe(tmp_path, steps=3, learning_rate=2e-3, lora_rank=lora_rank, **train)
    recipe = replace(recipe, model=replace(recipe.model, base=str(model), instructions="llm-embedder"))
    fit_recipe(recipe, show_progress=False)
    return recipe


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_delta_is_the_exported_model_up_to_quantisation(tmp_path, base, lora_rank):
    fit_from(tmp_path, BASE_HUB_ID, lora_rank=lora_rank)
    whole = Embedder.load(export_checkpoint(tmp_path / "out", tmp_path / "whole"), device="cpu")
    delta = Embedder.load(export_checkpoint(tmp_path / "out", tmp_path / "whole8", delta_bits=8), device="cpu")
    rough = Embedder.load(export_checkpoint(tmp_path / "out", tmp_path / "whole4", delta_bits=4), device="cpu")
    exact = whole.encode_queries(TEXTS, "tool")
    change = cosine_change(exact, delta.encode_queries(TEXTS, "tool"))
    assert change.mean <= change.largest < 2e-3
    assert change.largest < cosine_change(exact, rough.encode_queries(TEXTS, "tool")).largest < 0.05
    before = Embedder.load(base, device="cpu", instructions="llm-embedder")
    assert cosine_change(exact, before.encode_queries(TEXTS, "tool")).largest > 1e-3
    assert dict(delta.scenarios) == dict(whole.scenarios)
    assert delta.training_state == whole.training_state == f"fitted from {BASE_HUB_ID} for 3 steps on qa, tool"
    assert sorted(path.name for path in (tmp_path / "whole8").iterdir()) == [
        *("README.md", "delta.json", "delta.safetensors"),
    ]


def test_tensors_that_training_left_alone_are_not_in_the_delta(tmp_path, base):
    fit_from(tmp_path, BASE_HUB_ID, lora_rank=2)
    stored = load_file(export_checkpoint(tmp_path / "out", tmp_path / "d", delta_bits=8) / "delta.safetensors")
    changed = {name.rpartition(".")[0] for name in stored}
    assert "encoder.layer.1.output.dense.weight" in changed
    assert not any("embeddings" in name or "pooler" in name or name.endswith("bias") for name in changed)


def test_training_can_start_from_a_delta_and_ends_in_one_over_the_same_base(tmp_path, base):
    start = make_delta(tmp_path / "start", base)
    embedder = Embedder.load(start, device="cpu")
    trainable = TrainableEncoder.load(start, device="cpu")
    assert (trainable.settings.name, trainable.settings.max_length) == ("tiny-trained", 48)
    assert dict(trainable.settings.scenarios) == dict(embedder.scenarios)
    np.testing.assert_allclose(
        trainable.encode(TEXTS, "law", "query").detach().numpy(), embedder.encode_queries(TEXTS, "law"), atol=1e-5
    )
    fit_from(tmp_path, start)
    whole = Embedder.load(export_checkpoint(tmp_path / "out", tmp_path / "whole"), device="cpu")
    again = Embedder.load(export_checkpoint(tmp_path / "out", tmp_path / "d", delta_bits=8), device="cpu")
    assert again.training_state == "fitted from tiny-trained for 3 steps on qa, tool"
    change = cosine_change(whole.encode_documents(TEXTS, "qa"), again.encode_documents(TEXTS, "qa"))
    assert change.largest < 2e-3


def test_the_card_of_a_delta_says_how_it_is_used(tmp_path, base):
    fit_from(tmp_path, BASE_HUB_ID)
    card = (export_checkpoint(tmp_path / "out", tmp_path / "d", delta_bits=4) / "README.md").read_text()
    assert f"library_name: rag-embedder\nbase_model: {BASE_HUB_ID}\n" in card
    assert f"The folder holds the differences to {BASE_HUB_ID}, in 4 bits" in card
    assert 'SentenceTransformer("WHOLE")' in card
    assert 'SentenceTransformer("FOLDER")' not in card


def test_the_program_writes_a_delta_and_says_how_large_it_is(tmp_path, base):
    fit_from(tmp_path, BASE_HUB_ID)
    out = tmp_path / "d"
    done = CliRunner().invoke(app, [str(tmp_path / "out"), "--out", str(out), "--delta", "--bits", "4"])
    assert done.exit_code == 0, done.output
    size = sum(path.stat().st_size for path in out.iterdir())
    assert f"wrote {out} ({size / 1e6:.1f} MB); load it with Embedder.load" in done.output
    assert '"bits": 4' in (out / "delta.json").read_text()


def test_a_delta_of_another_base_or_in_other_bits_is_refused(tmp_path, base):
    fit_recipe(make_recipe(tmp_path, steps=1), show_progress=False)
    with pytest.raises(ConfigError, match=rf"model.base lies in .*base; expected {BASE_HUB_ID}.*without --delta"):
        export_checkpoint(tmp_path / "out", tmp_path / "d", delta_bits=8)
    with pytest.raises(ConfigError, match=r"--bits 5: expected one of: 8, 4\."):
        export_checkpoint(tmp_path / "out", tmp_path / "d", delta_bits=5)
    arguments = [str(tmp_path / "out"), "--out", str(tmp_path / "d"), "--bits", "8"]
    assert "expected both or none" in str(CliRunner().invoke(app, arguments).exception)
    assert not (tmp_path / "d").exists()
