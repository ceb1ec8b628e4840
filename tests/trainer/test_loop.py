"""The run: resuming is exact, many processes are one, and what cannot be trained on is refused before training."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rag_embedder.errors import ConfigError, InputError
from tests.trainer.fit_cases import make_recipe, make_stepper
from trainer.checkpoint import checkpoints, load
from trainer.errors import ExamplesError, NonFiniteError
from trainer.fit import fit_recipe
from trainer.loop import run_fit
from trainer.runlog import read_log

ROOT = Path(__file__).parents[2]


def weights_of(out):
    return load(checkpoints(Path(out) / "checkpoints")[-1])["weights"]


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lora_rank": 4},
        {
            "ema": 0.9,
            "self_paced": True,
            "self_paced_every": 2,
            "matryoshka_dims": (8,),
            "gradient_cache_chunk": 5,
            "eval_every": 3,
        },
    ],
)
def test_interrupted_and_continued_equals_uninterrupted(tmp_path, options):
    whole = make_recipe(tmp_path, **options, save_every=3)
    run_fit(make_stepper(whole))
    expected = load(checkpoints(tmp_path / "out" / "checkpoints")[-1])

    broken = replace(whole, train=replace(whole.train, out=str(tmp_path / "broken")))

    class StoppedError(Exception):
        pass

    def stop(result):
        if result.step == 5:  # two steps after the last checkpoint: they are done again
            raise StoppedError

    with pytest.raises(StoppedError):
        run_fit(make_stepper(broken), on_step=stop)
    torch.manual_seed(999)
    progress = run_fit(make_stepper(broken), resume=True)
    found = load(checkpoints(tmp_path / "broken" / "checkpoints")[-1])
    assert_equal(found["weights"], expected["weights"])
    assert found["step"] == expected["step"] == 8
    assert found["progress"] == expected["progress"] == progress.state_dict()
    if options.get("ema"):
        assert_equal(found["average"]["weights"], expected["average"]["weights"])

    def lines(folder):
        return [
            {name: value for name, value in event.items() if name not in ("time", "seconds")}
            for event in read_log(folder / "log.jsonl")
        ]

    assert lines(tmp_path / "broken") == lines(tmp_path / "out")


def test_loss_falls_and_dev_metric_rises(tmp_path):
    progress = run_fit(make_stepper(make_recipe(tmp_path, steps=40, learning_rate=3e-3, eval_every=40)))
    assert set(progress.fall) == {"qa", "tool"}
    assert all(last < 0.8 * first for first, last in progress.fall.values())
    assert progress.metrics["qa"] > progress.base_metrics["qa"]


def test_early_stopping_keeps_the_best(tmp_path):
    # a rate this small changes no ranking, so no evaluation is better than the first
    recipe = make_recipe(tmp_path, steps=20, learning_rate=1e-12, eval_every=2, patience=3)
    run_fit(make_stepper(recipe))
    assert load(checkpoints(tmp_path / "out" / "checkpoints")[-1])["step"] == 6
    progress = run_fit(
        make_stepper(make_recipe(tmp_path, steps=30, learning_rate=3e-3, eval_every=10, out=str(tmp_path / "rising")))
    )
    (best,) = checkpoints(tmp_path / "rising" / "best")
    assert load(best)["step"] == progress.best_step > 0


def test_chunks_do_not_change_the_losses(tmp_path):
    losses = []
    for chunk in (0, 3):
        stepper = make_stepper(make_recipe(tmp_path, gradient_cache_chunk=chunk))
        losses.append([stepper.run().loss for _ in range(3)])
        stepper.close()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_non_finite_loss_stops_before_the_weights_change(tmp_path):
    recipe = make_recipe(tmp_path)
    stepper = make_stepper(recipe)
    with torch.no_grad():
        stepper.encoder.model.get_input_embeddings().weight.fill_(torch.nan)
    before = {name: weight.clone() for name, weight in stepper.encoder.trained_weights().items()}
    with pytest.raises(NonFiniteError, match=r"the loss of step 1 .* is nan; expected a finite number") as caught:
        run_fit(stepper)
    written = json.loads(caught.value.path.read_text())
    assert written["step"] == 1
    assert len(written["rows"]) == len(written["groups"]) == 4
    assert len(written["groups"][0]["documents"]) == 3
    for name, weight in stepper.encoder.trained_weights().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0, equal_nan=True)


def test_whole_command_leaves_what_it_promises(tmp_path):
    recipe = make_recipe(tmp_path, eval_every=4)
    fit_recipe(recipe, show_progress=False)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "recipe.toml",
        "run.json",
        "data.json",
        "log.jsonl",
        "loss.png",
        "learning_rate.png",
        "metrics.png",
    } <= names
    with pytest.raises(ConfigError, match=r"is not an empty folder.*--resume"):
        fit_recipe(recipe, show_progress=False)
    with pytest.raises(ConfigError, match=r"--resume: the recipe differs.*learning_rate = 0.5"):
        fit_recipe(replace(recipe, train=replace(recipe.train, learning_rate=0.5)), resume=True, show_progress=False)
    before = weights_of(tmp_path / "out")
    fit_recipe(replace(recipe, train=replace(recipe.train, log_every=2)), resume=True, show_progress=False)
    assert_equal(weights_of(tmp_path / "out"), before)


def test_bad_input_is_refused_before_training(tmp_path):
    recipe = make_recipe(tmp_path)
    qa = recipe.data[0]

    def refuse(error, message, changed, **train):
        data = (replace(qa, **changed),)
        with pytest.raises(error, match=message):
            fit_recipe(replace(recipe, data=data, train=replace(recipe.train, **train)), show_progress=False)
        assert not (tmp_path / "out").exists()

    line = {"id": "1", "query": "q", "candidates": [{"id": "a", "text": "x", "label": 1}, {"id": "b", "text": "y"}]}
    for number, (change, message) in enumerate(
        [
            ({}, "no rewards, which data.qa.loss needs"),
            ({"rewards": [1.0]}, r"2\.jsonl:1: 1 rewards for 2|jsonl:1: 1 rewards for 2 candidates"),
            ({"rewards": [1.0, float("nan")]}, r"jsonl:1: rewards\[1\] is nan"),
            ({"candidates": []}, "jsonl:1: 'candidates' is empty"),
            (
                {"rewards": [1.0, 0.0], "candidates": [line["candidates"][1], {"id": "c", "text": "z"}]},
                "no candidate with",
            ),
        ]
    ):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps(line | change) + "\n")
        refuse(ExamplesError, message, {"path": str(path)})
    refuse(InputError, "there is no file or folder nowhere", {"path": "nowhere"})
    refuse(ConfigError, "too small for one batch", {}, batch_size=64)
    refuse(ConfigError, "matryoshka_dims.*below 32", {}, matryoshka_dims=(64,))


def test_resuming_from_another_base_is_refused(tmp_path):
    recipe = make_recipe(tmp_path, steps=2)
    run_fit(make_stepper(recipe))
    from tests import tiny_models

    tiny_models.write_plain(tmp_path / "other", seed=1)
    other = replace(recipe, model=replace(recipe.model, base=str(tmp_path / "other")))
    with pytest.raises(InputError, match="other base weights"):
        run_fit(make_stepper(other), resume=True)


_WORKER = """
import sys, pathlib, dataclasses
sys.path.insert(0, {root!r})
from tests.trainer.fit_cases import make_recipe
from trainer.fit import fit_recipe
fit_recipe(make_recipe(pathlib.Path({folder!r}), steps=5, batch_size=2, out={out!r}, eval_every=5, clip=0.5,
                       gradient_cache_chunk=int(sys.argv[1])), show_progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 4])
def test_two_processes_equal_one(tmp_path, chunk):
    one = make_recipe(tmp_path, steps=5, batch_size=4, eval_every=5, clip=0.5)
    fit_recipe(one, show_progress=False)
    script = tmp_path / "worker.py"
    script.write_text(_WORKER.format(root=str(ROOT), folder=str(tmp_path), out=str(tmp_path / "two")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = [
        "accelerate.commands.launch",
        "--multi_gpu",  # what starts several processes; without a GPU they meet over gloo
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        str(port),
    ]
    done = subprocess.run(
        [sys.executable, "-m", *launch, str(script), str(chunk)],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected, found = ([e for e in read_log(tmp_path / name / "log.jsonl")] for name in ("out", "two"))
    for left, right in zip(found, expected, strict=True):
        assert left["kind"] == right["kind"]
        # Weights that differ by rounding rank an untrained encoder's near ties otherwise: metrics of equal ones only.
        metrics = ("qa", "mean") if right["step"] == 0 else ()
        for name in ("loss", "gradient_norm", "learning_rate", *metrics):
            if name in right:
                assert left[name] == pytest.approx(right[name], rel=1e-4, abs=1e-7), (name, right["step"])
    two, one = (load(checkpoints(tmp_path / name / "checkpoints")[-1]) for name in ("two", "out"))
    assert apart(moments(two), moments(one)) < 1e-3 * moments(one).norm()
    start = flat(make_stepper(make_recipe(tmp_path)).encoder.trained_weights())
    # AdamW divides by the gradient's size, so where that is all but zero rounding decides where a weight goes.
    assert apart(flat(two["weights"]), flat(one["weights"])) < 0.02 * apart(flat(one["weights"]), start)


def flat(tensors):
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def moments(state):
    """The running means of the gradients of all weights."""
    return torch.cat([each["exp_avg"].flatten() for _, each in sorted(state["optimizer"]["state"].items())])


def apart(left, right):
    return (left - right).norm()
