"""Checkpoints: the state comes back exactly, a killed writer damages nothing, and training continues as if unbroken."""

import json
import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import trainer.checkpoint
from rag_embedder.errors import ConfigError, InputError
from trainer.checkpoint import TENSORS, VALUES, checkpoints, load, load_latest, rng_state, save, set_rng_state
from trainer.optim import SelfPacedRate, WeightAverage, linear_schedule, make_adamw, set_learning_rate

ROOT = Path(trainer.checkpoint.__file__).parent.parent


def test_tensors_of_every_kind_come_back(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "step": 3,
        "half": base.to(torch.bfloat16),
        "whole": torch.tensor([-(2**62), 5]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "tied": [base, base],
        "view": (base.T, base[1:, ::2]),
        "needs gradient": nn.Parameter(torch.ones(2)),
    }
    saved = save(tmp_path, state)
    assert saved == tmp_path / "step-00000003"
    again = load_latest(tmp_path)
    assert again is not None
    assert again.keys() == state.keys()
    torch.testing.assert_close(again["tied"], [base, base], rtol=0, atol=0)
    torch.testing.assert_close(again["view"], (base.T, base[1:, ::2]), rtol=0, atol=0)
    for name in ("half", "whole", "scalar", "empty"):
        assert again[name].dtype == state[name].dtype
        assert torch.equal(again[name], state[name])
    assert again["needs gradient"].tolist() == [1.0, 1.0]


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.integers(-5, 5)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | KEYS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=30, deadline=None)
@given(VALUE)
def test_values_of_every_kind_come_back(tmp_path_factory, value):
    folder = tmp_path_factory.getbasetemp() / "values"
    save(folder, {"step": 1, "value": value})
    assert load_latest(folder) == {"step": 1, "value": value}


def test_keys_that_look_like_ours_and_nan_come_back(tmp_path):
    value = {"$tensor": "x", 1: torch.ones(1), "1": torch.zeros(1), "nan": math.nan}
    save(tmp_path, {"step": 0, "value": value})
    again = load_latest(tmp_path)
    assert again is not None
    assert again["value"]["$tensor"] == "x"
    assert (again["value"][1].item(), again["value"]["1"].item()) == (1.0, 0.0)
    assert math.isnan(again["value"]["nan"])


def test_the_files_hold_no_pickle(tmp_path):
    folder = save(tmp_path, {"step": 1, "weights": torch.ones(2), "rate": 0.5})
    assert sorted(path.name for path in folder.iterdir()) == [TENSORS, VALUES]
    assert json.loads((folder / VALUES).read_text())["state"] == {
        "step": 1,
        "weights": {"$tensor": "/weights"},
        "rate": 0.5,
    }


def test_the_newest_are_kept_and_the_rest_of_the_folder_is_left_alone(tmp_path):
    (tmp_path / "log.jsonl").write_text("mine")
    for step in (9, 10, 100_000_000, 11):
        save(tmp_path, {"step": step}, keep=3)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000010", "step-00000011", "step-100000000"]
    assert load_latest(tmp_path) == {"step": 100_000_000}
    assert (tmp_path / "log.jsonl").read_text() == "mine"


def test_a_step_saved_again_is_replaced(tmp_path):
    save(tmp_path, {"step": 1, "rate": 1.0})
    save(tmp_path, {"step": 1, "rate": 2.0})
    assert load_latest(tmp_path) == {"step": 1, "rate": 2.0}
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_without_checkpoints_there_is_nothing_to_load(tmp_path):
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "none") is None


@pytest.mark.parametrize("place", range(8))
def test_a_writer_stopped_anywhere_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch, place):
    """What touches the disk is counted, and fails from the call `place` on, as if the process had been killed."""
    calls = 0

    def failing(function):
        def wrapper(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls > place:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return wrapper

    save(tmp_path, {"step": 1, "weights": torch.ones(3)}, keep=1)
    with monkeypatch.context() as patch:
        for name in ("save_file", "_to_disk", "_remove"):
            patch.setattr(trainer.checkpoint, name, failing(getattr(trainer.checkpoint, name)))
        for name in ("write_text", "rename"):
            patch.setattr(Path, name, failing(getattr(Path, name)))
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, {"step": 2, "weights": torch.zeros(3)}, keep=1)
    # Two files, three times to the disk, the new name, the folder to the disk, and the old one's removal.
    expected = {"step": 1, "weights": torch.ones(3)} if place <= 5 else {"step": 2, "weights": torch.zeros(3)}
    torch.testing.assert_close(load_latest(tmp_path), expected, rtol=0, atol=0)
    save(tmp_path, {"step": 3}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_a_killed_process_leaves_a_whole_checkpoint(tmp_path):
    code = (
        "import torch; from trainer.checkpoint import save\n"
        f"for step in range(1, 10**6): save({str(tmp_path)!r}, dict(step=step, weights=torch.full((10**6,), step)))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while len(checkpoints(tmp_path)) < 2 and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.random() / 10)
    process.send_signal(signal.SIGKILL)
    process.wait()
    state = load_latest(tmp_path)
    assert state is not None
    assert state["step"] >= 2
    assert torch.equal(state["weights"], torch.full((10**6,), state["step"]))


@pytest.mark.parametrize("damage", ["truncated", "missing", "not json", "newer format"])
def test_a_damaged_checkpoint_is_named_and_not_passed_over(tmp_path, damage):
    save(tmp_path, {"step": 1})
    folder = save(tmp_path, {"step": 2, "weights": torch.ones(100)})
    if damage == "truncated":
        (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-8])
    elif damage == "missing":
        (folder / VALUES).unlink()
    elif damage == "not json":
        (folder / VALUES).write_text("{")
    else:
        (folder / VALUES).write_text('{"format": 2, "state": {}}')
    with pytest.raises(InputError, match="step-00000002") as caught:
        load_latest(tmp_path)
    assert ("format 2; expected 1" if damage == "newer format" else "Remove the folder") in str(caught.value)
    assert load(tmp_path / "step-00000001") == {"step": 1}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, "step None"),
        ({"step": True}, "step True"),
        ({"step": -1}, "step -1"),
        ({"step": 1, "model": {"layer": [object()]}}, "a object at /model/layer/0"),
        ({"step": 1, "by pair": {(1, 2): 3}}, "a dict at /by pair"),
    ],
)
def test_a_state_that_cannot_be_kept_is_refused_before_anything_is_written(tmp_path, state, expected):
    with pytest.raises(InputError, match=expected):
        save(tmp_path / "run", state)
    assert not (tmp_path / "run").exists()


def test_keeping_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="keep is 0"):
        save(tmp_path, {"step": 1}, keep=0)


def draws():
    return random.random(), np.random.rand(), torch.rand(3).tolist()  # noqa: NPY002


def test_random_streams_continue(tmp_path):
    save(tmp_path, {"step": 1, "rng": rng_state()})
    expected = draws()
    assert draws() != expected
    state = load_latest(tmp_path)
    assert state is not None
    set_rng_state(state["rng"])
    assert draws() == expected


class Run:
    """Training in small: dropout, AdamW, schedule, self-paced rate and weight average."""

    def __init__(self):
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.optimizer = make_adamw(self.model, learning_rate=0.01, weight_decay=0.1)
        self.pace = SelfPacedRate(refresh_every=3)
        self.average = WeightAverage(self.model, decay=0.9)
        self.step = 0

    def train(self, steps):
        while self.step < steps:
            self.optimizer.zero_grad()
            loss = self.model(torch.full((2, 4), float(self.step))).square().mean()
            loss.backward()
            factor = linear_schedule(self.step, steps=10, warmup=0.2) * self.pace.factor("qa")
            set_learning_rate(self.optimizer, 0.01 * factor)
            self.optimizer.step()
            self.average.update(self.model)
            self.pace.observe("qa", loss.item(), step=self.step)
            self.step += 1

    def parts(self):
        return {name: getattr(self, name) for name in ("model", "optimizer", "pace", "average")}

    def state(self):
        states = {name: part.state_dict() for name, part in self.parts().items()}
        return {"step": self.step, "rng": rng_state(), **states}

    def resume(self, state):
        self.step = state["step"]
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        set_rng_state(state["rng"])


def test_interrupted_and_continued_equals_uninterrupted(tmp_path):
    whole = Run()
    whole.train(10)
    first = Run()
    first.train(5)
    save(tmp_path, first.state())
    first.train(7)  # lost with the process
    second = Run()
    state = load_latest(tmp_path)
    assert state is not None
    second.resume(state)
    second.train(10)
    ends = [{name: part.state_dict() for name, part in run.parts().items()} for run in (second, whole)]
    torch.testing.assert_close(*ends, rtol=0, atol=0)
    assert whole.pace.factor("qa") != 1.0
