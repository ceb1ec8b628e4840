"""The log, what a continued run keeps of it, and the curves."""

import json
import math
import struct

import pytest

import trainer.runlog
from rag_embedder.errors import InputError, MissingExtraError
from trainer.runlog import LOG, RUN, RunLog, draw_curves, read_log, smoothed, write_run


def train(step, loss, dataset="qa"):
    return "train", step, {"dataset": dataset, "loss": loss, "learning_rate": step / 1000}


def write(folder, *events, step=0):
    with RunLog(folder, step=step) as log:
        for event in events:
            log.write(*event)


def written(folder):
    return [{key: value for key, value in event.items() if key != "time"} for event in read_log(folder / LOG)]


def test_an_event_is_one_line_of_json(tmp_path):
    write(tmp_path, train(1, 2.5), ("eval", 1, {"mean": 0.5}))
    assert written(tmp_path) == [
        {"kind": "train", "step": 1, "dataset": "qa", "loss": 2.5, "learning_rate": 0.001},
        {"kind": "eval", "step": 1, "mean": 0.5},
    ]
    assert json.loads((tmp_path / LOG).read_text().splitlines()[0])["time"].endswith("+00:00")


def test_an_event_can_be_read_before_the_log_is_closed(tmp_path):
    log = RunLog(tmp_path)
    log.write(*train(1, 2.5))
    assert [event["loss"] for event in written(tmp_path)] == [2.5]
    log.close()


def test_infinities_and_nan_are_text_in_valid_json(tmp_path):
    write(tmp_path, train(1, math.nan), train(2, -math.inf))
    assert [event["loss"] for event in written(tmp_path)] == ["nan", "-inf"]


def test_a_value_cannot_take_the_place_of_a_field(tmp_path):
    with RunLog(tmp_path) as log, pytest.raises(InputError, match="value 'step'"):
        log.write("train", 1, {"step": 2})


def test_a_continued_run_drops_what_came_after_its_checkpoint(tmp_path):
    write(tmp_path, train(1, 4.0), train(2, 3.0), train(3, 2.0))
    write(tmp_path, train(3, 2.1), step=2)
    assert [(event["step"], event["loss"]) for event in written(tmp_path)] == [(1, 4.0), (2, 3.0), (3, 2.1)]


def test_a_run_from_the_start_begins_an_empty_log(tmp_path):
    write(tmp_path, ("eval", 0, {"mean": 0.1}), train(1, 4.0))
    write(tmp_path)
    assert written(tmp_path) == []


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path):
    write(tmp_path, train(1, 4.0), train(2, 3.0))
    path = tmp_path / LOG
    path.write_bytes(path.read_bytes()[:-5])
    assert [event["step"] for event in written(tmp_path)] == [1]
    write(tmp_path, train(2, 3.5), step=2)
    assert [(event["step"], event["loss"]) for event in written(tmp_path)] == [(1, 4.0), (2, 3.5)]


@pytest.mark.parametrize("line", ["not json", "[]", '{"step": 1}', '{"kind": "train", "step": "1"}'])
def test_a_line_that_is_no_event_is_named(tmp_path, line):
    write(tmp_path, train(1, 4.0))
    path = tmp_path / LOG
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"log\.jsonl, line 2: not an event"):
        list(read_log(path))


def test_smoothing_by_hand():
    # Weights 0.5, 0.5 of the rest, corrected: (0.25 * 4 + 0.5 * 1) / 0.75.
    assert smoothed([4.0, 1.0], decay=0.5) == pytest.approx([4.0, 2.0])
    assert smoothed([3.0] * 50) == pytest.approx([3.0] * 50)
    assert smoothed([]) == []


def png_size(path):
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def test_curves_are_drawn_for_what_was_measured(tmp_path):
    write(tmp_path, train(1, 4.0), train(2, math.nan), train(3, 2.0), train(3, 5.0, "tool"))
    assert [path.name for path in draw_curves(tmp_path)] == ["loss.png", "learning_rate.png"]
    assert png_size(tmp_path / "loss.png") == (800, 450)
    write(tmp_path, train(4, 1.0), ("eval", 4, {"qa": 0.4, "mean": 0.5}), step=3)
    assert [path.name for path in draw_curves(tmp_path)] == ["loss.png", "learning_rate.png", "metrics.png"]


def test_curves_have_one_line_per_name_without_what_is_no_number(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        trainer.runlog, "_draw", lambda curves, path, **_: drawn.setdefault(path.name, dict(curves)) and path
    )
    write(
        tmp_path,
        train(1, 4.0),
        train(2, math.nan),
        train(3, 2.0),
        train(3, 5.0, "tool"),
        ("eval", 3, {"qa": 0.4, "best": True, "note": "text"}),
    )
    draw_curves(tmp_path)
    assert drawn == {
        "loss.png": {"qa": ([1, 3], [4.0, 2.0]), "tool": ([3], [5.0])},
        "learning_rate.png": {"learning rate": ([1, 2, 3, 3], [0.001, 0.002, 0.003, 0.003])},
        "metrics.png": {"qa": ([3], [0.4])},
    }


def test_an_empty_log_draws_nothing(tmp_path):
    write(tmp_path)
    assert draw_curves(tmp_path) == []


def test_without_matplotlib_the_run_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.runlog, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install"):
        RunLog(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_says_where_it_came_from_once_per_start(tmp_path):
    write_run(tmp_path, seed=7, command=["python -m trainer.fit", "smoke.toml"])
    write_run(tmp_path, seed=7, command=["python -m trainer.fit", "smoke.toml", "train.steps=20"])
    starts = json.loads((tmp_path / RUN).read_text())
    assert [start["command"] for start in starts] == [
        "python -m trainer.fit smoke.toml",
        "python -m trainer.fit smoke.toml train.steps=20",
    ]
    assert {start["seed"] for start in starts} == {7}
    assert {"commit", "versions", "machine", "date"} <= starts[0].keys()
