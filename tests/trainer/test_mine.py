"""The program, from a folder of data to a file of examples."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.mining import data_sets
from trainer import mine
from trainer.reading import read_examples

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs the program in this process: (exit code, output, error output)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mine", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            mine.main()
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return run


def test_a_file_of_examples(program, tmp_path):
    data_sets.passages(tmp_path / "knowledge" / "squad")
    out = tmp_path / "out" / "squad.jsonl.gz"
    code, printed, errors = program("--data", tmp_path, "--set", "knowledge/squad", "--out", out)
    assert code == 0
    assert "2 examples of 2 queries" in printed
    assert "per example: 1.00 positives, 0.50 negatives" in printed
    assert "1 examples have no negative" in printed
    assert "mining: 100%" in errors
    found = read_examples(out)
    assert [(example.id, [each.id for each in example.candidates]) for example in found] == [
        ("q1", ["d1", "d3"]),
        ("q2", ["d2"]),
    ]


def test_json_and_answers_left_out(program, tmp_path):
    data_sets.passages(tmp_path)
    out = tmp_path / "x.jsonl"
    arguments = ("--data", tmp_path, "--scenario", "qa", "--out", out, "--json")
    code, printed, _ = program(*arguments)
    summary = json.loads(printed)
    assert code == 0
    assert summary.pop("seconds") > 0
    assert len(summary.pop("checksum")) == 64
    assert summary == {
        "file": str(out),
        "scenario": "qa",
        "num_queries": 2,
        "num_examples": 2,
        "num_positives": 2,
        "num_negatives": 1,
        "num_without_negatives": 1,
    }
    code, _, errors = program(*arguments)
    assert (code, "is there already" in errors) == (2, True)
    code, printed, _ = program(*arguments, "--overwrite", "--limit", "1", "--k", "1", "--skip-answers")
    assert (code, json.loads(printed)["num_examples"]) == (0, 1)


def test_an_encoder_of_a_folder_and_a_dialogue(program, tmp_path, tiny_folder):
    data_sets.dialogues_with_documents(tmp_path / "conversational_search" / "mine")
    out = tmp_path / "x.jsonl"
    code, _, _ = program(
        "--data", tmp_path, "--set", "conversational_search/mine", "--out", out, "--no-bm25",
        "--encoder", f"tiny={tiny_folder}?instructions=llm-embedder", "--cache", tmp_path / "cache", "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    example = read_examples(out)[0]
    assert example.query == "tell me of bergen a town and its tram"
    assert [each.id for each in example.candidates] == ["b", "a"]
    assert list((tmp_path / "cache").glob("*.npy"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "x.json"), "expected one that ends in .jsonl"),
        (("--out", "x.jsonl", "--no-bm25"), "expected at least one of them"),
        (("--out", "x.jsonl", "--set", "gone"), "there is no folder"),
        (("--out", "x.jsonl", "--k", "0"), "k: got 0"),
        (("--out", "x.jsonl", "--split", "dev"), "judgements of split 'dev'"),
        (("--out", "x.jsonl", "--limit", "0"), "limit is 0"),
        ((), "--out"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(program, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    data_sets.passages(tmp_path / "data")
    code, printed, errors = program("--data", tmp_path / "data", "--scenario", "qa", *arguments)
    assert (code, printed) == (2, "")
    assert message in errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_is_measured_is_not_trained_on(program, tmp_path):
    data_sets.demonstrations(tmp_path / "demos" / "multitask")
    arguments = ("--data", tmp_path, "--set", "demos/multitask", "--out", tmp_path / "x.jsonl")
    code, _, errors = program(*arguments, "--split", "new_task")
    assert (code, "demos/multitask.new_task is what evaluation measures" in errors) == (0, True)
    code, _, errors = program(*arguments, "--overwrite", "--same-task")
    assert (code, "evaluation" in errors) == (0, False)


def test_as_a_module():
    shown = subprocess.run(
        [sys.executable, "-m", "trainer.mine", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--skip-answers" in shown.stdout


def test_held_out_documents_go_to_a_file_of_their_own(program, tmp_path):
    data_sets.passages(tmp_path / "knowledge" / "squad")
    arguments = ("--data", tmp_path, "--set", "knowledge/squad", "--out", tmp_path / "x.jsonl", "--seen-only")
    code, _, errors = program(*arguments, "--hold-out", "1")
    assert (code, "--hold-out and --held-out: got one of them" in errors) == (2, True)
    code, printed, _ = program(*arguments, "--hold-out", "1", "--held-out", tmp_path / "dev.jsonl", "--json")
    assert code == 0
    summaries = [json.loads(line) for line in printed.splitlines()]
    assert [summary["num_examples"] for summary in summaries] == [1, 1]
    (kept,), (held,) = read_examples(tmp_path / "x.jsonl"), read_examples(tmp_path / "dev.jsonl")
    assert {kept.id, held.id} == {"q1", "q2"}
    assert not [candidate for candidate in kept.candidates if not candidate.label]
