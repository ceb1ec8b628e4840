"""A reranker is trained by the same loop: its loss by hand, resume, export, and what means nothing to it."""

import json
import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from evals.metrics import evaluate_run
from rag_embedder import Reranker
from rag_embedder.errors import ConfigError, InputError, ModelLoadError
from tests.tiny_language_models import write_language_model
from tests.tiny_models import write_plain
from tests.tiny_rerankers import write_cross_encoder, write_decoder
from trainer.checkpoint import checkpoints, load
from trainer.errors import NonFiniteError
from trainer.examples import Candidate, Example
from trainer.export import export_checkpoint
from trainer.fit import fit_recipe
from trainer.loop import run_fit
from trainer.losses import LOSSES, LossSettings
from trainer.model_kinds import MODEL_KINDS
from trainer.recipe import load_recipe
from trainer.recipe_file import recipe_path
from trainer.settings import DataSettings, ModelSettings, Recipe, TrainSettings
from trainer.steps import Stepper
from trainer.training_sets import read_training_sets

ANSWERS = {"paris": "the city of france", "oslo": "the city of norway", "berlin": "the city of germany"}


def write_examples(path, *, scored=False):
    """Separable: the answer stands beside its city, with the others as negatives."""
    lines = []
    for number, (city, answer) in enumerate(ANSWERS.items()):
        others = [text for name, text in ANSWERS.items() if name != city]
        candidates = [{"id": str(place), "text": text} for place, text in enumerate([answer, *others])]
        candidates[0]["label"] = 1
        line = {"id": f"q{number}", "query": f"where is {city}", "candidates": candidates}
        lines.append(line | ({"rewards": [1.0, 0.5, 0.0]} if scored else {}))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def make_recipe(folder, base, *, loss=None, model=None, **train):
    path = write_examples(folder / "qa.jsonl", scored=loss is not None)
    data = DataSettings(
        name="qa",
        path=str(path),
        dev=str(path),
        scenario="qa",
        loss=loss or {"cross_entropy": 1.0},
        student_temperature=1.0,
    )
    settings = {
        "steps": 6,
        "out": str(folder / "out"),
        "batch_size": 3,
        "group_size": 3,
        "learning_rate": 3e-3,
        "warmup": 0.0,
        "save_every": 0,
        "log_every": 1,
    }
    return Recipe(
        model=ModelSettings(**{"kind": "reranker", "base": str(base), "max_length": 32} | (model or {})),
        train=TrainSettings(**settings | train),
        data=(data,),
    )


def make_stepper(recipe):
    model = MODEL_KINDS["reranker"].load(recipe, device="cpu")
    return Stepper(recipe, model, read_training_sets(recipe))


@pytest.fixture
def encoder(tmp_path):
    return write_plain(tmp_path / "encoder")


@pytest.fixture
def decoder(tmp_path):
    return write_language_model(tmp_path / "decoder", "llama")


LLAMA = {"template": "rankllama", "max_length": 64}


def test_cross_entropy_is_what_one_gets_by_hand():
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    own = torch.tensor([[0, 1, 2], [0, 1, 2]])
    mask = torch.tensor([[True, True, True], [True, False, True]])  # a copy of an earlier candidate
    result = LOSSES["cross_entropy"](scores, own, None, mask, options=LossSettings(weights={"cross_entropy": 1.0}))
    first = math.log(math.exp(2) + math.exp(1) + 1) - 2
    second = math.log(1 + math.exp(3))
    assert result.rows.tolist() == pytest.approx([first, second])
    assert result.loss.item() == pytest.approx((first + second) / 2)
    assert not LossSettings(weights={"cross_entropy": 1.0}).needs_rewards


def test_the_loss_of_a_step_is_the_cross_entropy_of_its_models_own_scores(tmp_path, encoder):
    recipe = make_recipe(tmp_path, encoder)
    stepper = make_stepper(recipe)
    batch = stepper._make_batch(0)
    pairs = [[(group.query, text) for text in group.documents] for group in batch.groups]
    with torch.no_grad():
        scores = torch.cat([stepper.encoder(stepper.encoder.tokenize(row)).T for row in pairs])
    expected = torch.nn.functional.cross_entropy(scores, torch.zeros(3, dtype=torch.long))
    assert stepper.run().loss == pytest.approx(expected.item(), abs=1e-5)
    stepper.close()


def test_repeated_negatives_count_once(tmp_path, encoder):
    plain = make_stepper(make_recipe(tmp_path, encoder))
    repeated = make_stepper(make_recipe(tmp_path, encoder, group_size=7))
    assert repeated.run().loss == pytest.approx(plain.run().loss, abs=1e-5)
    for stepper in (plain, repeated):
        stepper.close()


@pytest.mark.parametrize("base", ["encoder", "decoder"])
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_the_loss_falls_on_what_can_be_told_apart(tmp_path, base, lora_rank, request):
    model = {"lora_rank": lora_rank} | (LLAMA if base == "decoder" else {})
    recipe = make_recipe(tmp_path, request.getfixturevalue(base), model=model, learning_rate=1e-2)
    stepper = make_stepper(recipe)
    assert all(weight.requires_grad for name, weight in stepper.encoder.named_parameters() if "score" in name)
    before = {name: weight.clone() for name, weight in stepper.encoder.trained_weights().items()}
    losses = [stepper.run().loss for _ in range(4)]
    stepper.close()
    assert losses[-1] < losses[0]
    changed = [
        name for name, weight in stepper.encoder.trained_weights().items() if not torch.equal(weight, before[name])
    ]
    if lora_rank:
        assert changed
        assert all("lora_" in name or "score" in name or "classifier" in name or "pooler" in name for name in changed)
    else:
        assert len(changed) > 10


@pytest.mark.parametrize("options", [{}, {"gradient_cache_chunk": 2, "ema": 0.9, "eval_every": 2}])
def test_interrupted_and_continued_equals_uninterrupted(tmp_path, encoder, options):
    whole = make_recipe(tmp_path, encoder, save_every=2, **options)
    run_fit(make_stepper(whole))
    expected = load(checkpoints(tmp_path / "out" / "checkpoints")[-1])
    broken = replace(whole, train=replace(whole.train, out=str(tmp_path / "broken")))

    class StoppedError(Exception):
        pass

    def stop(result):
        if result.step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        run_fit(make_stepper(broken), on_step=stop)
    torch.manual_seed(999)
    run_fit(make_stepper(broken), resume=True)
    found = load(checkpoints(tmp_path / "broken" / "checkpoints")[-1])
    assert found["weights"].keys() == expected["weights"].keys()
    assert all(torch.equal(found["weights"][name], weight) for name, weight in expected["weights"].items())


def test_gradient_caching_gives_the_same_step(tmp_path):
    base, gradients = write_cross_encoder(tmp_path / "base"), []
    for chunk in (0, 2):
        stepper = make_stepper(make_recipe(tmp_path, base, gradient_cache_chunk=chunk))
        stepper.run()
        stepper.close()
        gradients.append({name: weight.grad for name, weight in stepper.encoder.named_parameters()})
    assert any(gradient is not None and gradient.abs().max() > 0.01 for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("base", "model"),
    [
        ("encoder", {}),
        ("encoder", {"lora_rank": 2}),
        ("decoder", LLAMA | {"lora_rank": 2}),
        ("decoder", LLAMA | {"template": "rankllama-eos", "lora_rank": 2, "dtype": "bfloat16"}),
    ],
)
def test_what_is_exported_scores_as_what_was_trained(tmp_path, base, model, request):
    recipe = make_recipe(tmp_path, request.getfixturevalue(base), model=model, eval_every=3)
    fit_recipe(recipe, show_progress=False)
    out = export_checkpoint(tmp_path / "out" / "checkpoints" / "step-00000006", tmp_path / "model", name="mine")
    exact = replace(recipe, model=replace(recipe.model, dtype="float32"))
    trained = MODEL_KINDS["reranker"].load(exact, device="cpu")
    trained.load_trained_weights(load(tmp_path / "out" / "checkpoints" / "step-00000006")["weights"])
    pairs = [("where is oslo", text) for text in ANSWERS.values()]
    with torch.no_grad():
        expected = trained(trained.tokenize(pairs)).squeeze(1).numpy()
    found = Reranker.load(out)
    np.testing.assert_allclose(found.score_pairs(pairs), expected, atol=1e-5)
    assert (found.name, found.template, found.max_length) == (
        "mine",
        trained.settings.template,
        recipe.model.max_length,
    )
    assert "for 6 steps on qa" in found.training_state
    assert AutoModelForSequenceClassification.from_pretrained(out).config.num_labels == 1
    card = (out / "README.md").read_text(encoding="utf-8")
    assert 'Reranker.load("FOLDER")' in card
    assert "| qa | " in card
    assert "each example's own candidates" in card


def test_a_trained_reranker_can_be_trained_on_and_knows_its_template(tmp_path, decoder):
    recipe = make_recipe(tmp_path, decoder, model=LLAMA, steps=1)
    fit_recipe(recipe, show_progress=False)
    out = export_checkpoint(tmp_path / "out", tmp_path / "model")
    again = MODEL_KINDS["reranker"].load(make_recipe(tmp_path, out, model={"max_length": None}), device="cpu")
    assert (again.settings.template, again.settings.max_length) == ("rankllama", 64)
    pairs = [("where is oslo", text) for text in ANSWERS.values()]
    with torch.no_grad():
        np.testing.assert_allclose(
            again(again.tokenize(pairs)).squeeze(1).numpy(), Reranker.load(out).score_pairs(pairs), atol=1e-6
        )


def test_the_shipped_encoder_can_become_a_reranker(tmp_path):
    recipe = make_recipe(tmp_path, "unused", model={"base": None})
    model = MODEL_KINDS["reranker"].load(recipe, device="cpu")
    again = MODEL_KINDS["reranker"].load(recipe, device="cpu")
    assert model.base_hash == again.base_hash
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert model(model.tokenize([("a", "b")])).shape == (1, 1)


def test_the_dev_metric_orders_each_examples_own_candidates(tmp_path, encoder):
    stepper = make_stepper(make_recipe(tmp_path, encoder))
    examples = stepper.training_sets["qa"].dev
    run, qrels = {}, {}
    for example in examples:
        pairs = [(example.query, candidate.text) for candidate in example.candidates]
        with torch.no_grad():
            scores = stepper.encoder(stepper.encoder.tokenize(pairs)).squeeze(1).tolist()
        run[example.id] = list(zip("012", scores, strict=True))
        qrels[example.id] = {"0": 1}
    expected = np.mean(list(evaluate_run(run, qrels, ["nDCG@10"])["nDCG@10"].values()))
    assert fmean(stepper.kind.measure(examples, "qa").values()) == pytest.approx(expected)
    with torch.no_grad():
        stepper.encoder.model.classifier.weight.zero_()
    assert fmean(stepper.kind.measure(examples, "qa").values()) == pytest.approx(
        1.0
    )  # ties: as they came, the positive first
    with torch.no_grad():
        stepper.encoder.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="are no numbers: the weights diverged"):
        stepper.kind.measure(examples, "qa")


@pytest.mark.parametrize("loss", ["kl_distillation", "graded_distillation", "stabilized_distillation"])
def test_rewards_can_be_distilled_into_a_reranker(tmp_path, encoder, loss):
    stepper = make_stepper(make_recipe(tmp_path, encoder, loss={loss: 1.0}, learning_rate=1e-2))
    losses = [stepper.run().loss for _ in range(4)]
    stepper.close()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("model", "train", "data", "message"),
    [
        ({"pooling": "mean"}, {}, {}, "model.pooling is 'mean', but a reranker has no vectors"),
        ({"instructions": "none"}, {}, {}, "model.instructions is 'none'"),
        ({"prompt_form": "repllama"}, {}, {}, "model.prompt_form is 'repllama'"),
        ({"template": "rankllma"}, {}, {}, "model.template: 'rankllma'; .*Did you mean 'rankllama'"),
        ({}, {"matryoshka_dims": (8,)}, {}, "train.matryoshka_dims is set"),
        ({}, {}, {"loss": {"contrastive": 1.0}}, "data.qa.loss has contrastive.*Expected cross_entropy"),
        ({}, {}, {"student_temperature": 0.01}, "data.qa.student_temperature is 0.01; a reranker's scores are no"),
        ({"kind": "encoder"}, {}, {}, "data.qa.loss has cross_entropy.*is for model.kind"),
        ({"kind": "encoder", "template": "pair"}, {}, {}, "model.template is 'pair', but model.kind is 'encoder'"),
    ],
)
def test_settings_of_the_other_kind_are_refused(tmp_path, model, train, data, message):
    recipe = make_recipe(tmp_path, "base")
    with pytest.raises(ConfigError, match=message):
        Recipe(
            model=replace(recipe.model, **model),
            train=replace(recipe.train, **train),
            data=[replace(recipe.data[0], **data)],
        )


def test_a_query_that_leaves_no_room_is_refused_before_training(tmp_path, encoder):
    recipe = make_recipe(tmp_path, encoder)
    sets = read_training_sets(recipe)
    long = Example(id="long", query="dog " * 40, candidates=[Candidate(id="1", text="x", label=1)])
    broken = {"qa": replace(sets["qa"], examples=[*sets["qa"].examples, long])}
    kind = MODEL_KINDS["reranker"](MODEL_KINDS["reranker"].load(recipe, device="cpu"))
    kind.check(recipe, sets)
    with pytest.raises(InputError, match=r"data\.qa, example 'long': the query has 40 tokens; expected less than 29"):
        kind.check(recipe, broken)


def test_bases_that_cannot_become_a_reranker_say_why(tmp_path, decoder):
    with pytest.raises(ConfigError, match="a decoder whose files do not say how it reads a pair"):
        MODEL_KINDS["reranker"].load(make_recipe(tmp_path, decoder), device="cpu")
    three = write_cross_encoder(tmp_path / "three", num_labels=3)
    with pytest.raises(ModelLoadError, match=r"wrong shape.*classifier"):
        MODEL_KINDS["reranker"].load(make_recipe(tmp_path, three), device="cpu")


def test_a_reranker_has_no_delta(tmp_path, encoder):
    fit_recipe(make_recipe(tmp_path, encoder, steps=1), show_progress=False)
    with pytest.raises(ConfigError, match="--delta: the run trained a reranker"):
        export_checkpoint(tmp_path / "out", tmp_path / "model", delta_bits=8)


@pytest.mark.parametrize("base", ["language_model", "reranker"])
def test_the_shipped_recipe_runs_on_a_tiny_decoder(tmp_path, base):
    write = {
        "language_model": lambda: write_language_model(tmp_path / "base", "llama"),
        "reranker": lambda: write_decoder(tmp_path / "base"),
    }
    overrides = [
        f"model.base={write[base]()}",
        f"data.qa.path={write_examples(tmp_path / 'qa.jsonl')}",
        f"train.out={tmp_path / 'run'}",
        "train.steps=3",
        "train.batch_size=2",
        "train.group_size=3",
    ]
    recipe = load_recipe(recipe_path("rankllama"), overrides)
    assert (recipe.model.lora_rank, recipe.model.lora_alpha, recipe.model.max_length) == (32, 64, 196)
    progress = fit_recipe(recipe, show_progress=False)
    assert math.isfinite(progress.fall["qa"][1])
    out = export_checkpoint(tmp_path / "run", tmp_path / "model")
    assert Reranker.load(out).template == "rankllama"
