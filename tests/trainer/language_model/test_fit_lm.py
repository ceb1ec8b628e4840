"""Whole runs: what is written, continued runs, wrong input, and the folder in other hands."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.language_model import Continuation
from evals.language_model.local import LocalLanguageModel
from rag_embedder.engine.transformers import TransformersEngine
from rag_embedder.errors import ConfigError, InputError
from tests import tiny_models
from tests.tiny_deltas import DENSE, make_base, make_delta
from tests.trainer.language_model.lm_cases import make_recipe
from trainer.errors import NonFiniteError
from trainer.fit_lm import fit_language_model, main, prepare_run
from trainer.language_model.recipe import load_recipe, recipe_to_toml
from trainer.language_model.training import LanguageModelRun


def weights_of(run: LanguageModelRun) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in run.decoder.named_parameters()}


def test_a_continued_run_reaches_the_weights_of_an_uninterrupted_one(tmp_path):
    whole = prepare_run(make_recipe(tmp_path, out=str(tmp_path / "whole")))
    whole.run()
    part = prepare_run(make_recipe(tmp_path, out=str(tmp_path / "part")))
    steps: list[int] = []

    def stop(result):
        steps.append(result.step)
        if result.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part.run(on_step=stop)
    again = prepare_run(make_recipe(tmp_path, out=str(tmp_path / "part")))
    again.run(resume=True, on_step=lambda result: steps.append(result.step))
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    expected = weights_of(whole)
    for name, weight in weights_of(again).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


def test_the_loss_falls_and_everything_is_written(tmp_path):
    recipe = make_recipe(tmp_path, steps=40, eval_every=20, learning_rate=1e-2, save_every=0)
    metrics = fit_language_model(recipe, show_progress=False)
    out = tmp_path / "out"
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    held_out = [event for event in events if event["kind"] == "held_out" and event["dataset"] == "text"]
    assert [event["step"] for event in held_out] == [0, 20, 40]
    assert held_out[-1]["loss"] < 0.6 * held_out[0]["loss"]
    assert metrics["text"]["perplexity"] == pytest.approx(math.exp(held_out[-1]["loss"]))
    assert set(metrics["qa"]) == {"positive", "random", "none", "auc"}
    assert {"loss.png", "metrics.png", "recipe.toml", "run.json", "model", "tokenizer"} <= {
        p.name for p in out.iterdir()
    }
    assert "trainer.fit_lm" in json.loads((out / "run.json").read_text())[0]["command"]
    with pytest.raises(ConfigError, match=r"train\.out.*--resume"):
        fit_language_model(recipe, show_progress=False)
    with pytest.raises(ConfigError, match=r"differs.*seed = 7"):
        fit_language_model(make_recipe(tmp_path, steps=40, learning_rate=1e-2, seed=7), resume=True)


@pytest.mark.parametrize("init", ["scratch", "encoder"])
def test_the_folder_scores_as_a_plain_loop_does(tmp_path, init):
    base = {"init": "encoder", "base": str(tiny_models.write_plain(tmp_path / "base"))} if init == "encoder" else {}
    run = prepare_run(make_recipe(tmp_path, model=base, steps=2))
    run.run()
    folder = tmp_path / "out" / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lm = LocalLanguageModel.load(folder, device="cpu")
    assert lm.max_length == (tiny_models.POSITIONS if init == "encoder" else 64)
    requests = [Continuation("the dog sees", " a cat"), Continuation("rain", " in oslo and the bird")]
    for request, score in zip(requests, lm.log_likelihoods(requests), strict=True):
        context = tokenizer(request.context, add_special_tokens=False)["input_ids"]
        output = tokenizer(request.continuation, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[tokenizer.bos_token_id, *context, *output]])
        with torch.no_grad():
            logs = model(ids).logits[0].log_softmax(-1)
        expected = sum(float(logs[len(context) + place, token]) for place, token in enumerate(output))
        assert score.log_likelihood == pytest.approx(expected, abs=1e-3)
        weights = torch.zeros(ids.shape)
        weights[0, 1 + len(context) :] = 1.0
        assert -run.decoder.losses(ids, weights)[0].item() == pytest.approx(expected, abs=1e-3)


def test_a_decoder_can_start_from_a_delta(tmp_path, monkeypatch):
    public = make_base(tmp_path / "public", monkeypatch)
    delta = make_delta(tmp_path / "delta", public)
    run = prepare_run(make_recipe(tmp_path, model={"init": "encoder", "base": str(delta)}, steps=1))
    weights = dict(run.decoder.model.named_parameters())
    found = weights[f"bert.{DENSE}"].detach().numpy()
    expected = dict(TransformersEngine.load(public, delta=delta, pooling="mean", device="cpu").model.named_parameters())
    np.testing.assert_array_equal(found, expected[DENSE].detach().numpy())


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    run = prepare_run(make_recipe(tmp_path))
    with torch.no_grad():
        next(run.decoder.parameters())[0] = math.nan
    with pytest.raises(NonFiniteError, match=r"the loss of step 0 is nan.*learning_rate") as caught:
        run.run()
    assert json.loads(caught.value.path.read_text())["step"] == 0
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_recipe_is_read_changed_and_written_again(tmp_path):
    path = tmp_path / "recipe.toml"
    recipe = make_recipe(tmp_path)
    path.write_text(recipe_to_toml(recipe))
    assert load_recipe(path) == recipe
    changed = load_recipe(path, ["train.steps=9", "data.qa.weight=2", "model.dtype=bfloat16"])
    assert (changed.train.steps, changed.data[1].weight, changed.model.dtype) == (9, 2.0, "bfloat16")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=9", "unknown key in train: 'stepz'.*mean 'steps'"),
        ("data.texd.weight=2", "unknown data name 'texd'.*mean 'text'"),
        ("data.qa.scenario=", "data.qa.scenario is missing"),
        ("data.text.scenario=qa", 'data.text.scenario is for kind = "examples"'),
        ("model.width=33", r"model.width is 33; expected a multiple of 2 x model.heads = 4"),
        ("model.base=x", 'model.base is for model.init = "encoder"'),
        ("train.learning_rate=0", "train.learning_rate is 0.0; expected a number above 0"),
        ("steps=3", "expected key=value with a dotted key"),
    ],
)
def test_wrong_settings_are_named_with_their_key(tmp_path, override, message):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_to_toml(make_recipe(tmp_path)))
    with pytest.raises(ConfigError, match=message):
        load_recipe(path, [override])


def test_wrong_files_are_named(tmp_path):
    recipe = make_recipe(tmp_path)
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(InputError, match=r"texts.jsonl:2: .*'text'"):
        prepare_run(recipe)


def test_the_program_ends_with_2_for_a_recipe_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fit_lm", str(tmp_path / "none.toml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("trainer.fit_lm: recipe")
    assert "does not exist" in message
