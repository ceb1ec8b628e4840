"""The shipped smoke recipe, through the program: all scenarios and losses, and a run that is killed and continued."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

import trainer
from tests import tiny_models
from trainer.checkpoint import TENSORS, checkpoints
from trainer.fit import fit_recipe
from trainer.losses import LOSSES
from trainer.recipe import load_recipe
from trainer.recipe_file import recipe_path
from trainer.runlog import read_log

ROOT = Path(trainer.__file__).parent.parent
SCENARIOS = ["qa", "convsearch", "chat", "lrlm", "icl", "tool"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_models.write_plain(tmp_path_factory.mktemp("models") / "base")


def test_it_ships_and_has_every_scenario_and_loss(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(recipe_path("smoke"))
    assert [settings.scenario for settings in recipe.data] == SCENARIOS
    assert {name for settings in recipe.data for name in settings.loss} == set(LOSSES) - {
        "cross_entropy"
    }  # of rerankers
    assert all(settings.dev for settings in recipe.data)


def test_the_loss_falls_for_every_scenario(tmp_path, base):
    changes = [f"model.base={base}", f"train.out={tmp_path / 'out'}", "train.learning_rate=3e-3", "train.steps=180"]
    temperatures = [f"data.{name}.student_temperature=0.1" for name in SCENARIOS]
    recipe = load_recipe(recipe_path("smoke"), [*changes, *temperatures, "train.eval_every=180"])
    progress = fit_recipe(recipe, show_progress=False)
    assert list(progress.base_metrics) == SCENARIOS
    for name, (first, last) in progress.fall.items():
        assert last < first, name
    assert sorted(progress.fall) == sorted(SCENARIOS)


def events(folder):
    return [
        {k: v for k, v in event.items() if k not in ("time", "seconds")} for event in read_log(folder / "log.jsonl")
    ]


@pytest.mark.slow
def test_killed_and_continued_it_equals_a_run_that_was_not(tmp_path, base):
    settings = ["train.steps=60", "train.save_every=10", "train.eval_every=20", f"model.base={base}"]
    command = [sys.executable, "-m", "trainer.fit", "smoke", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def start(name, *options):
        arguments = [*command, f"train.out={tmp_path / name}", *options]
        return subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=subprocess.PIPE)

    whole, killed = start("whole"), start("killed")
    deadline = time.monotonic() + 60
    while len(checkpoints(tmp_path / "killed" / "checkpoints")) < 2 and time.monotonic() < deadline:
        assert killed.poll() is None
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert checkpoints(tmp_path / "killed" / "checkpoints")[-1].name < "step-00000060"
    again = start("killed", "--resume")
    for process in (whole, again):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()[-2000:]
    assert events(tmp_path / "killed") == events(tmp_path / "whole")
    left, right = (
        load_file(checkpoints(tmp_path / name / "checkpoints")[-1] / TENSORS) for name in ("killed", "whole")
    )
    assert left.keys() == right.keys()
    assert all(left[name].equal(right[name]) for name in left)
    assert len(json.loads((tmp_path / "killed" / "run.json").read_text())) == 2


def test_a_folder_of_a_recipes_name_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "smoke").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recipe_path("smoke").is_file()
    (tmp_path / "smoke.toml").write_text("")
    assert recipe_path("smoke.toml") == Path("smoke.toml")
