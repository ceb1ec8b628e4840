"""What a user can get wrong, through the programs themselves: one message, exit code 2, nothing written."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from rag_embedder import Embedder, Scenario
from tests import tiny_models
from tests.tiny_language_models import write_language_model
from trainer import fit, score

RECIPE = """
[model]
base = "{folder}/base"
max_length = 32

[train]
out = "{folder}/out"
steps = 2
batch_size = 4
group_size = 2

[[data]]
name = "qa"
path = "{folder}/examples.jsonl"
scenario = "qa"
loss = "graded_distillation"
"""


def example(number, **changes):
    candidates = [{"id": f"a{number}", "text": "red", "label": 1}, {"id": f"b{number}", "text": "blue"}]
    good = {"id": f"q{number}", "query": "which", "answers": ["red"], "candidates": candidates, "rewards": [1.0, 0.0]}
    return good | changes


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.write_plain(folder / "base")
    write_language_model(folder / "lm")
    return folder


@pytest.fixture
def folder(tmp_path, models):
    """A recipe that works, with its examples, base and language model."""
    (tmp_path / "base").symlink_to(models / "base")
    (tmp_path / "lm").symlink_to(models / "lm")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(folder=tmp_path))
    write(tmp_path, [example(number) for number in range(8)])
    return tmp_path


def write(folder, rows):
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs a program of the trainer in this process: (exit code, error output)."""

    def run(module, *arguments):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            module.main()
        return left.value.code, capsys.readouterr().err

    return run


def run_fit(program, folder, *overrides):
    return program(fit, folder / "recipe.toml", *overrides)


def run_score(program, folder, *options):
    fixed = ["--data", folder / "examples.jsonl", "--out", folder / "out", "--lm", folder / "lm", "--device", "cpu"]
    return program(score, *fixed, *options)


BAD_RECORDS = {
    "no candidates": ({"candidates": []}, "'candidates' is empty"),
    "no field for candidates": ({"candidates": None}, "'candidates' is missing"),
    "rewards of the wrong length": ({"rewards": [1.0]}, "1 rewards for 2 candidates; expected one each"),
    "a reward that is no number": ({"rewards": [1.0, float("nan")]}, "rewards[1] is nan; expected a finite number"),
    "an infinite reward": ({"rewards": [float("-inf"), 0.0]}, "rewards[0] is -inf; expected a finite number"),
    "a misspelt field": ({"anwsers": ["red"]}, "unknown field 'anwsers'"),
    "an id that was there": ({"id": "q0"}, "id 'q0' was there before"),
}


@pytest.mark.parametrize("run", [run_fit, run_score], ids=["fit", "score"])
@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_is_named_with_file_and_line(program, folder, run, name):
    change, message = BAD_RECORDS[name]
    write(folder, [*(example(number) for number in range(8)), example(8, **change)])
    arguments = ["--scenario", "qa"] if run is run_score else []
    code, errors = run(program, folder, *arguments)
    assert code == 2
    assert f"{folder / 'examples.jsonl'}:9: {message}" in errors
    assert "Traceback" not in errors
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.qa.scenario=qaa"], "unknown scenario in data.qa.scenario: 'qaa'; expected one of: qa, "),
        (["train.stepz=3"], "override 'train.stepz=3': unknown key in train: 'stepz'"),
        (["data.other.path=x"], "unknown data name 'other'; expected one of: qa."),
        (["data.qa.loss=gradd"], "unknown loss 'gradd'"),
        (["train.batch_size=9"], "too small for one batch of 9 x 1 processes = 9 rows: qa (8 rows)"),
        (["data.qa.student_temperature=0"], "data.qa: student_temperature is 0.0; expected a number above 0"),
        (["data.qa.path=gone.jsonl"], "there is no file or folder gone.jsonl"),
        (["train.eval_every=1"], "no data set has a dev split"),
        (["model.base=gone"], "no model folder at "),
        (["train.matryoshka_dims=[64]"], "train.matryoshka_dims is [64]; expected numbers below 32"),
    ],
)
def test_a_bad_setting_is_named_with_its_key(program, folder, overrides, message):
    code, errors = run_fit(program, folder, *overrides)
    assert (code, message in errors) == (2, True), errors
    assert not (folder / "out").exists()


def test_an_unknown_key_in_the_file_is_named_with_the_file(program, folder):
    path = folder / "recipe.toml"
    path.write_text(path.read_text().replace("steps = 2", "steps = 2\nlerning_rate = 1e-5"))
    code, errors = run_fit(program, folder)
    assert code == 2
    assert f"recipe {path}: unknown key in train: 'lerning_rate'" in errors
    assert "Did you mean 'learning_rate'?" in errors
    assert not (folder / "out").exists()


@pytest.mark.parametrize("run", [run_fit, run_score], ids=["fit", "score"])
def test_a_folder_that_is_not_empty_is_left_alone(program, folder, run):
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("x")
    code, errors = run(program, folder, *(["--scenario", "qa"] if run is run_score else []))
    assert code == 2
    assert f"{folder / 'out'}" in errors
    assert "not an empty folder" in errors
    assert [path.name for path in (folder / "out").iterdir()] == ["thesis.txt"]


def test_an_unknown_scenario_is_refused_by_scoring(program, folder):
    code, errors = run_score(program, folder, "--scenario", "qaa")
    assert code == 2
    assert (
        "unknown scenario 'qaa'; expected one of: qa, convsearch, chat, lrlm, icl, tool. Did you mean 'qa'?" in errors
    )
    assert not (folder / "out").exists()


def test_vectors_that_are_not_normalised_are_refused_before_training(program, folder):
    damaged = tiny_models.write_plain(folder / "damaged")
    (file,) = damaged.glob("*.safetensors")
    tensors = load_file(file)
    tensors["embeddings.word_embeddings.weight"].fill_(torch.nan)
    save_file(tensors, file, metadata={"format": "pt"})
    code, errors = run_fit(program, folder, f"model.base={damaged}")
    assert code == 2
    assert f"model.base {damaged}, first query of data.qa: a vector of length nan" in errors
    assert "expected length 1" in errors
    assert not (folder / "out").exists()


def test_rewards_without_labels_are_answered_with_the_rule_that_needs_none(program, folder):
    candidates = [{"id": "a", "text": "red"}, {"id": "b", "text": "blue"}]
    write(folder, [example(number, candidates=candidates) for number in range(8)])
    code, errors = run_fit(program, folder)
    assert code == 2
    assert '8 examples: no candidate with a label above 0; data.qa.positive = "teacher" takes' in errors
    assert run_fit(program, folder, "data.qa.positive=teacher")[0] == 0


def test_a_loss_that_is_no_number_ends_with_1_and_its_batch(program, folder):
    code, errors = run_fit(program, folder, "train.steps=3", "train.learning_rate=1e30", "train.clip=0")
    assert code == 1
    assert "expected a finite number. Training stopped before the weights changed" in errors
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"loss.png", "learning_rate.png", "recipe.toml", "run.json"} <= names
    assert any(name.startswith("non-finite-step-") for name in names)


def test_weights_that_diverged_before_an_evaluation_end_with_1(program, folder):
    overrides = [f"data.qa.dev={folder / 'examples.jsonl'}", "train.eval_every=1", "train.clip=0"]
    code, errors = run_fit(program, folder, *overrides, "train.warmup=0", "train.learning_rate=1e38")
    assert code == 1
    assert "vectors or scores of a dev split of scenario 'qa' are no numbers: the weights diverged" in errors


def test_a_scenario_that_the_base_does_not_have_is_refused(folder, capsys, monkeypatch):
    Embedder.load(folder / "base", instructions=[Scenario("code")], device="cpu").save(folder / "own")
    recipe = (folder / "recipe.toml").read_text().replace(f"{folder}/base", f"{folder}/own")
    (folder / "recipe.toml").write_text(recipe)
    monkeypatch.setattr(sys, "argv", ["fit", str(folder / "recipe.toml")])
    with pytest.raises(SystemExit) as stopped:
        fit.main()
    assert stopped.value.code == 2
    assert "data.qa.scenario is 'qa', but base has code; set model.instructions" in capsys.readouterr().err
    assert not (folder / "out").exists()
