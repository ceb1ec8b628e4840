"""Whole runs: what is learned and written, continued runs, adapters, the folder in other hands, and bad input."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import trainer
from rag_embedder import Embedder
from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.prompt_form import PROMPT_FORMS
from tests import tiny_models
from tests.trainer.pretraining.pretrain_cases import make_recipe, make_texts, make_tokenizer, write_base
from trainer.errors import NonFiniteError
from trainer.language_model.decoder import new_decoder
from trainer.language_model.recipe import load_recipe as load_lm_recipe
from trainer.language_model.settings import DecoderSettings
from trainer.language_model.tokenizer import encoder_tokenizer
from trainer.model import TrainableEncoder
from trainer.pretrain import main, prepare_run, pretrain_decoder
from trainer.pretraining.objective import VARIANTS
from trainer.pretraining.recipe import load_recipe, recipe_to_toml
from trainer.pretraining.slots import slot_ids
from trainer.slot_embeddings import SlotEmbeddings


def weights_of(run):
    return {name: weight.detach().clone() for name, weight in run.decoder.named_parameters()}


@pytest.mark.parametrize("model", [{}, {"lora_rank": 4}], ids=["full", "lora"])
def test_a_continued_run_reaches_the_weights_of_an_uninterrupted_one(tmp_path, model):
    recipe = make_recipe(tmp_path, model=model, out=str(tmp_path / "whole"))
    whole = prepare_run(recipe)
    whole.run()
    recipe = replace(recipe, train=replace(recipe.train, out=str(tmp_path / "part")))
    steps = []

    def stop(result):
        steps.append(result.step)
        if result.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_run(recipe).run(on_step=stop)
    again = prepare_run(recipe)
    again.run(resume=True, on_step=lambda result: steps.append(result.step))
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    expected = weights_of(whole)
    for name, weight in weights_of(again).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


def test_both_tasks_are_learned_and_everything_is_written(tmp_path):
    recipe = make_recipe(tmp_path, steps=40, eval_every=20, save_every=0)
    metrics = pretrain_decoder(recipe, show_progress=False)
    out = tmp_path / "out"
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    held_out = [event for event in events if event["kind"] == "held_out"]
    assert [event["step"] for event in held_out] == [0, 20, 40]
    for task in ("self", "next"):
        assert held_out[-1][f"{task}_loss"] < 0.7 * held_out[0][f"{task}_loss"]
        assert held_out[-1][f"{task}_recall"] > held_out[0][f"{task}_recall"] + 0.2
    assert metrics["text"]["self_loss"] == held_out[-1]["self_loss"]
    assert {event["dataset"] for event in events if event["kind"] == "train"} == {"self", "next"}
    assert {"loss.png", "metrics.png", "recipe.toml", "run.json", "model"} <= {path.name for path in out.iterdir()}
    assert "trainer.pretrain" in json.loads((out / "run.json").read_text())[0]["command"]
    with pytest.raises(ConfigError, match=r"train\.out.*--resume"):
        pretrain_decoder(recipe, show_progress=False)
    with pytest.raises(ConfigError, match=r"differs.*divisor = 3"):
        pretrain_decoder(replace(recipe, objective=replace(recipe.objective, divisor=3.0)), resume=True)


@pytest.mark.parametrize("is_tied", [True, False])
def test_with_adapters_new_embeddings_learn_and_no_old_weight_changes(tmp_path, is_tied):
    base = write_base(tmp_path / "base", is_tied=is_tied)
    run = prepare_run(make_recipe(tmp_path, base=base, model={"lora_rank": 4}, objective={"variant": "released"}))
    before = run.decoder.weights()
    embedding = run.decoder.slots
    assert isinstance(embedding, SlotEmbeddings)
    trained = {name for name, weight in run.decoder.named_parameters() if weight.requires_grad}
    assert trained == {name for name, _ in run.decoder.named_parameters() if "lora_" in name or name == "slots.rows"}
    assert len([name for name in trained if "lora_A" in name]) == 2 * 7
    run.train_step()
    assert bool((embedding.rows.grad.abs().sum(1) > 0).all())
    run.train_step()
    after = run.decoder.weights()
    slots = slot_ids(run.tokenizer, PROMPT_FORMS["llara"])
    assert len(slots) == 16
    table, old = after["model.embed_tokens.weight"], before["model.embed_tokens.weight"]
    kept = [number for number in range(len(old)) if number not in slots]
    torch.testing.assert_close(table[kept], old[kept], rtol=0, atol=0)
    assert (table[slots] - old[slots]).abs().amax(1).min() > 1e-4
    assert ("lm_head.weight" in after and torch.equal(after["lm_head.weight"], table)) is is_tied
    assert (after["model.layers.0.mlp.up_proj.weight"] - before["model.layers.0.mlp.up_proj.weight"]).abs().max() > 0
    # the adapters beside and in the weights are one model
    with torch.no_grad():
        ids = torch.tensor([[0, 30, 40, *slots]])
        merged = make_merged(run)
        expected = merged(input_ids=ids).logits
        run.decoder.model.set_attn_implementation("eager")
        embedded = embedding(ids, run.decoder.model.get_input_embeddings()(ids))
        states = run.decoder.model.base_model(inputs_embeds=embedded).last_hidden_state
        torch.testing.assert_close(states @ run.decoder._head().weight.T, expected, rtol=1e-4, atol=1e-4)


def test_frozen_weights_are_held_in_the_type_of_the_pass_and_all_are_saved_in_float32(tmp_path):
    model = {"lora_rank": 4, "lora_alpha": 8.0, "dtype": "bfloat16"}
    run = prepare_run(make_recipe(tmp_path, model=model, steps=2))
    dtypes = {(weight.requires_grad, weight.dtype) for weight in run.decoder.parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}
    run.run()
    folder = tmp_path / "out" / "model"
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    saved, expected = AutoModelForCausalLM.from_pretrained(folder).state_dict(), run.decoder.weights()
    for name, weight in saved.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)
    change = saved["model.layers.0.mlp.up_proj.weight"] - expected["model.layers.0.mlp.up_proj.weight"].bfloat16()
    assert change.abs().max() > 0


def make_merged(run):
    folder = run.recipe.train.out + "-merged"
    run.save_model(Path(folder))
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_new_slots_begin_near_the_mean_and_apart(tmp_path):
    run = prepare_run(make_recipe(tmp_path))
    table = weights_of(run)["model.model.embed_tokens.weight"]
    slots = slot_ids(run.tokenizer, PROMPT_FORMS["llara"])
    assert slots == list(range(len(table) - 16, len(table)))
    old = AutoModelForCausalLM.from_pretrained(tmp_path / "base").get_input_embeddings().weight.detach()
    torch.testing.assert_close(table[:-16], old, rtol=0, atol=0)
    distance = (table[-16:] - old.mean(0)).norm(dim=1) / old.std(0).norm()
    assert 0.05 < distance.min() < distance.max() < 0.2
    assert torch.pdist(table[-16:]).min() > 0
    again = prepare_run(make_recipe(tmp_path, base=tmp_path / "base"))
    torch.testing.assert_close(weights_of(again)["model.model.embed_tokens.weight"], table, rtol=0, atol=0)


@pytest.mark.parametrize("form", ["llara", "llara-paper"])
def test_the_folder_is_an_encoder_whose_vectors_are_the_slots(tmp_path, form):
    recipe = make_recipe(tmp_path, model={"form": form, "max_length": 96}, steps=2)
    run = prepare_run(recipe)
    run.run()
    folder = tmp_path / "out" / "model"
    embedder = Embedder.load(folder, device="cpu")
    assert embedder.max_length == 96
    texts = [make_texts(1, seed=7)[0][:60], "rain"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for encode, role in ((embedder.encode_documents, "document"), (embedder.encode_queries, "query")):
        prompt = PROMPT_FORMS[form].tokenised(tokenizer).of(role)
        for text, vector in zip(texts, encode(texts, scenario="qa"), strict=True):
            np.testing.assert_allclose(vector, slot_vector(run, prompt, text), atol=1e-5)
    # what fine-tuning begins at, on its packed path
    trained = TrainableEncoder.load(folder, device="cpu")
    found = trained.encode(texts, "qa", "document").detach().numpy()
    np.testing.assert_allclose(found, embedder.encode_documents(texts, scenario="qa"), atol=1e-5)
    # and the base of another pre-training, which adds no token again
    second = prepare_run(make_recipe(tmp_path, base=folder, out=str(tmp_path / "second"), model={"form": form}))
    assert len(second.tokenizer) == len(tokenizer)
    torch.testing.assert_close(weights_of(second), weights_of(run), rtol=0, atol=0)


def slot_vector(run, prompt, text):
    """The plain model's, one text at a time."""
    ids = prompt.ids(run.tokenizer(text, add_special_tokens=False)["input_ids"], run.recipe.model.max_length)
    run.decoder.model.set_attn_implementation("eager")
    with torch.no_grad():
        states = run.decoder.model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    return torch.nn.functional.normalize(states[-prompt.num_slots :].mean(0), dim=0).numpy()


def test_a_bert_read_left_to_right_is_a_decoder_too(tmp_path):
    folder = tiny_models.write_plain(tmp_path / "encoder")
    tokenizer = encoder_tokenizer(folder, max_length=100)
    settings = DecoderSettings(init="encoder", base=str(folder), max_length=100)
    new_decoder(settings, tokenizer, device=torch.device("cpu")).save(tmp_path / "decoder", tokenizer)
    model = {"max_length": 120}
    run = prepare_run(make_recipe(tmp_path, base=tmp_path / "decoder", model=model, steps=30, tokens_per_step=1024))
    first = run.measure()["text"]
    run.run()
    assert run.measure()["text"]["self_loss"] < 0.8 * first["self_loss"]
    vector = Embedder.load(tmp_path / "out" / "model", device="cpu").encode_documents(["rain"], scenario="qa")[0]
    expected = slot_vector(run, PROMPT_FORMS["llara"].tokenised(run.tokenizer).document, "rain")
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_a_loss_that_is_no_number_stops_before_the_weights_change(tmp_path):
    run = prepare_run(make_recipe(tmp_path))
    with torch.no_grad():
        run.decoder.model.model.norm.weight[0] = torch.nan
    before = weights_of(run)
    with pytest.raises(NonFiniteError, match="loss of step 0 is nan") as error:
        run.train_step()
    assert json.loads(error.value.path.read_text())["datasets"][0] == "text"
    torch.testing.assert_close(weights_of(run), before, rtol=0, atol=0, equal_nan=True)


def test_recipes_are_read_overridden_and_written(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_to_toml(make_recipe(tmp_path)))
    recipe = load_recipe(path, ["objective.variant=released", "objective.lm_weight=0.5", "data.text.held_out=3"])
    found = recipe.objective.resolved()
    assert (found.slot_logits, found.combine, found.divisor, found.lm_weight, found.stop_words) == (
        "max",
        "mean",
        10.0,
        0.5,
        "remove",
    )
    assert recipe.data[0].held_out == 3
    (tmp_path / "again.toml").write_text(recipe_to_toml(recipe))
    assert load_recipe(tmp_path / "again.toml") == recipe
    for override, message in {
        "model.form=lara": r"model\.form: 'lara'.*Did you mean 'llara'",
        "objective.variant=relased": "Did you mean 'released'",
        "objective.divisor=0": r"objective\.divisor is 0",
        "model.lora_alpha=8": r"model\.lora_alpha is for model\.lora_rank",
        "data.text.passage_tokens=0": r"data\.text\.passage_tokens is 0",
        "objective.slots=max": "unknown key in objective",
    }.items():
        with pytest.raises(ConfigError, match=message):
            load_recipe(path, [override])


@pytest.mark.parametrize(("name", "read"), [("pretrain_llara", load_recipe), ("pretrain_decoder", load_lm_recipe)])
def test_the_shipped_recipes_are_valid_and_fit_each_other(name, read):
    path = Path(trainer.__file__).parent / "recipes" / f"{name}.toml"
    recipe = read(path)
    other = load_lm_recipe(path.with_name("pretrain_decoder.toml"))
    assert recipe.model.max_length <= other.model.max_length
    if name == "pretrain_llara":
        assert recipe.model.base == f"{other.train.out}/model"
        assert recipe.objective.resolved() == VARIANTS["paper"]


def test_bases_that_are_no_decoders(tmp_path):
    recipe = make_recipe(tmp_path)
    encoder = tiny_models.write_plain(tmp_path / "encoder")
    with pytest.raises(ModelLoadError, match=r"6 tensors are missing.*causal language model, its head included"):
        prepare_run(replace(recipe, model=replace(recipe.model, base=str(encoder))))
    with pytest.raises(ConfigError, match=r"model\.max_length is 300; expected at most 256"):
        prepare_run(replace(recipe, model=replace(recipe.model, max_length=300)))
    headless = tmp_path / "headless"
    model = AutoModelForCausalLM.from_pretrained(write_base(tmp_path / "untied", is_tied=False))
    model.base_model.save_pretrained(headless)
    make_tokenizer().save_pretrained(headless)
    with pytest.raises(ModelLoadError, match=r"1 tensors are missing or of the wrong shape \(first: lm_head\.weight\)"):
        prepare_run(replace(recipe, model=replace(recipe.model, base=str(headless))))


def test_the_command_reports_and_ends_with_its_codes(tmp_path, monkeypatch, capsys):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_to_toml(make_recipe(tmp_path, steps=2, eval_every=2)))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pretrain", str(path), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr()

    code, said = run()
    assert code in (0, None)
    everything = said.out + said.err
    assert "self_recall" in everything
    assert "35 documents" in everything
    assert run("--resume")[0] in (0, None)
    code, said = run("model.form=nothing")
    assert code == 2
    assert "model.form" in said.err
    shutil.rmtree(tmp_path / "out")
    code, said = run("data.text.path=nowhere")
    assert code == 2
    assert "nowhere" in said.err
