"""Exported folders: the vectors of the trained encoder in our loader and in sentence-transformers, with a card."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rag_embedder import Embedder
from rag_embedder.errors import ConfigError, InputError
from tests.trainer.fit_cases import make_recipe
from trainer.checkpoint import checkpoints, load
from trainer.export import export_checkpoint
from trainer.fit import fit_recipe, load_encoder
from trainer.model_card import Licences

TEXTS = ["where was Ada born?", "rain in oslo", "the green house"]


@pytest.mark.parametrize("options", [{"lora_rank": 4}, {}, {"ema": 0.5}])
def test_vectors_survive_export(tmp_path, options):
    recipe = make_recipe(tmp_path, steps=4, learning_rate=5e-3, **options)
    fit_recipe(recipe, show_progress=False)
    exported = export_checkpoint(tmp_path / "out", tmp_path / "exported")
    state = load(checkpoints(tmp_path / "out" / "checkpoints")[-1])
    encoder = load_encoder(recipe, device="cpu")
    base = encoder.encode(TEXTS, "tool", "query").detach().numpy()
    encoder.load_trained_weights(state["average"]["weights"] if options.get("ema") else state["weights"])
    expected = encoder.encode(TEXTS, "tool", "query").detach().numpy()
    assert np.abs(expected - base).max() > 1e-3
    embedder = Embedder.load(exported)
    np.testing.assert_allclose(embedder.encode_queries(TEXTS, "tool"), expected, atol=1e-5)
    assert embedder.name == "exported"
    assert embedder.training_state == "fitted from base for 4 steps on qa, tool"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_sentence_transformers_reads_it(tmp_path):
    from sentence_transformers import SentenceTransformer

    fit_recipe(make_recipe(tmp_path, steps=2, lora_rank=2), show_progress=False)
    exported = export_checkpoint(tmp_path / "out", tmp_path / "exported")
    theirs = SentenceTransformer(str(exported), device="cpu").encode(TEXTS, prompt_name="tool_query")
    np.testing.assert_allclose(theirs, Embedder.load(exported).encode_queries(TEXTS, "tool"), atol=1e-5)


def test_card_says_data_licences_metrics_and_limits(tmp_path):
    fit_recipe(make_recipe(tmp_path, steps=4, eval_every=2), show_progress=False)
    licences = Licences(model="apache-2.0", data={"qa": "CC-BY-4.0"})
    card = (export_checkpoint(tmp_path / "out", tmp_path / "exported", licences=licences) / "README.md").read_text()
    assert 'license: "apache-2.0"' in card
    assert "| qa | qa | 32 | 1 graded_distillation | CC-BY-4.0 |" in card
    assert "| tool | tool | 24 | 1 contrastive | not stated |" in card
    assert "| scenario | base | this model |" in card
    assert "Trained for qa, tool; not for convsearch, chat, lrlm, icl." in card
    assert "this model is of no use" in card
    assert "batch_size = 4" in card


def test_sets_that_are_only_measured_are_not_training_data(tmp_path):
    recipe = make_recipe(tmp_path, steps=2)
    qa, tool = recipe.data
    fit_recipe(replace(recipe, data=(qa, replace(tool, weight=0.0, dev=tool.path))), show_progress=False)
    exported = export_checkpoint(tmp_path / "out", tmp_path / "exported")
    card = (exported / "README.md").read_text()
    assert "| qa | qa | 32 |" in card
    assert "| tool | tool |" not in card
    assert "Trained for qa; not for convsearch, chat, lrlm, icl, tool." in card
    assert Embedder.load(exported).training_state == "fitted from base for 2 steps on qa"


def test_a_share_of_the_change_is_kept(tmp_path):
    recipe = make_recipe(tmp_path, steps=4, learning_rate=5e-3)
    fit_recipe(recipe, show_progress=False)
    trained = load(checkpoints(tmp_path / "out" / "checkpoints")[-1])["weights"]
    encoder = load_encoder(recipe, device="cpu")
    before = {name: weight.clone() for name, weight in encoder.trained_weights().items()}
    encoder.load_trained_weights({name: 0.25 * trained[name] + 0.75 * before[name] for name in before})
    expected = encoder.encode(TEXTS, "tool", "query").detach().numpy()
    exported = export_checkpoint(tmp_path / "out", tmp_path / "exported", kept=0.25)
    embedder = Embedder.load(exported)
    np.testing.assert_allclose(embedder.encode_queries(TEXTS, "tool"), expected, atol=1e-5)
    assert embedder.training_state == "fitted from base for 4 steps on qa, tool, 0.25 of the change kept"
    for kept in (0, 1.5):
        with pytest.raises(ConfigError, match=rf"--kept {kept:g}: expected a share above 0"):
            export_checkpoint(tmp_path / "out", tmp_path / "again", kept=kept)


def test_of_adapters_all_is_kept(tmp_path):
    fit_recipe(make_recipe(tmp_path, steps=1, lora_rank=2), show_progress=False)
    with pytest.raises(ConfigError, match=r"model\.lora_rank = 2"):
        export_checkpoint(tmp_path / "out", tmp_path / "exported", kept=0.5)


def test_a_model_can_read_more_than_it_was_trained_on(tmp_path):
    fit_recipe(make_recipe(tmp_path, steps=2), show_progress=False)
    exported = export_checkpoint(tmp_path / "out", tmp_path / "exported", max_length=100)
    assert Embedder.load(exported).max_length == 100
    assert "At most 100 tokens" in (exported / "README.md").read_text()
    with pytest.raises(ConfigError, match=r"model\.max_length: got 999"):
        export_checkpoint(tmp_path / "out", tmp_path / "longer", max_length=999)


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        export_checkpoint(tmp_path, tmp_path / "exported")
    fit_recipe(make_recipe(tmp_path, steps=1), show_progress=False)
    with pytest.raises(ConfigError, match="unknown data set with a licence: 'qq'"):
        export_checkpoint(tmp_path / "out", tmp_path / "exported", licences=Licences(data={"qq": "MIT"}))
    assert not (tmp_path / "exported").exists()
    with pytest.raises(ConfigError, match="not an empty folder"):
        export_checkpoint(tmp_path / "out", tmp_path / "out")


def test_merged_adapters_are_the_adapted_model(tmp_path):
    encoder = load_encoder(make_recipe(tmp_path, lora_rank=3), device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in encoder.trained_weights().values():
            weight.normal_(0, 0.3, generator=generator)
    base = load_encoder(make_recipe(tmp_path), device="cpu")
    merged = encoder.merged_weights()
    assert merged.keys() == base.model.state_dict().keys()
    base.model.load_state_dict(merged)
    torch.testing.assert_close(
        base.encode(TEXTS, "qa", "query"), encoder.encode(TEXTS, "qa", "query"), atol=1e-5, rtol=1e-4
    )
