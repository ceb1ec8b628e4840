"""The program, as a person with three files uses it."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from evals import cli

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def folder(tmp_path):
    """A data set of one's own: three files."""
    data = tmp_path / "mine"
    data.mkdir()
    corpus = {"d1": "rain falls in oslo", "d2": "bread is baked from flour", "d3": "snow falls in bergen"}
    queries = {"q1": "rain in oslo", "q2": "flour", "q3": "bergen"}
    (data / "corpus.jsonl").write_text(_lines({"_id": id_, "title": "", "text": text} for id_, text in corpus.items()))
    (data / "queries.test.jsonl").write_text(_lines({"_id": id_, "text": text} for id_, text in queries.items()))
    (data / "qrels.test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\nq3\td3\t1\n")
    return data


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs the program in this process: (exit code, output, error output)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["evals", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return run


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_three_files_in_a_report_out(program, folder, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = program("run", "--data", folder, "--systems", "bm25,random,oracle", "--out", out)
    assert code == 0
    assert "mine" in printed
    results = json.loads((out / "results.json").read_text())
    means = {each["system"]: each["values"]["nDCG@10"] for each in results["results"]}
    assert means["oracle"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    assert means["bm25"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    assert results["provenance"]["seed"] == 0
    assert set(results["costs"]) == {"bm25", "random", "oracle"}
    for name in ("report.html", "table.md", "runs/bm25/mine.test.trec.gz", "qrels/mine.test.qrels"):
        assert (out / name).stat().st_size > 0


def test_json_says_where_the_results_are_and_what_was_found(program, folder, tmp_path):
    code, printed, _ = program(
        "run", "--data", folder, "--systems", "random,oracle", "--out", tmp_path / "out", "--no-cost", "--json"
    )
    found = json.loads(printed)
    assert code == 0
    assert found["baseline"] == "random"
    assert {each["system"]: each["mean"] for each in found["scenarios"]}["oracle"] == 1.0
    assert Path(found["results"]).exists()


def test_a_run_shows_a_query_and_what_was_found_for_it(program, folder, tmp_path):
    out = tmp_path / "out"
    program("run", "--data", folder, "--systems", "bm25", "--out", out, "--no-cost")
    code, printed, _ = program("show", out, "--query", "q3")
    assert code == 0
    assert "query: bergen" in printed
    assert "relevant (1): d3  snow falls in bergen" in printed
    assert "*  1" in printed
    code, _, error = program("show", out, "--query", "q9")
    assert (code, "no set of the run has it" in error) == (2, True)


def test_two_runs_are_compared(program, folder, tmp_path):
    for system in ("random", "oracle"):
        program("run", "--data", folder, "--systems", system, "--out", tmp_path / system, "--no-cost")
    code, printed, _ = program("compare", tmp_path / "oracle", tmp_path / "random" / "results.json")
    assert code == 0
    assert "| oracle | random | qa | mine.test | 3 | 100.0 |" in printed
    code, printed, _ = program("compare", tmp_path / "oracle", tmp_path / "random", "--json")
    assert json.loads(printed)[0]["comparison"]["n"] == 3


def test_the_report_can_be_made_again_with_another_metric(program, folder, tmp_path):
    out = tmp_path / "out"
    program("run", "--data", folder, "--systems", "bm25,oracle", "--out", out, "--no-cost")
    assert program("report", out, "--metric", "RR@10", "--baseline", "oracle")[0] == 0
    assert "RR@10" in (out / "table.md").read_text()


def test_the_list_names_suites_systems_and_what_lies_in_a_folder(program, folder):
    code, printed, _ = program("list", "--data", folder)
    assert code == 0
    for name in ("tools", "tool_retrieval/toole", "bm25", "llm-embedder", "nDCG@10", "mine.test"):
        assert name in printed
    assert json.loads(program("list", "--json")[1])["systems"][:3] == ["bm25", "random", "oracle"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--systems", "bm52"), "'bm52' is not a hub id"),
        (
            ("--systems", "bm25", "--baseline", "oracle"),
            "baseline: got 'oracle'; expected one of the run's systems: bm25",
        ),
        (("--systems", "bm25", "--metric", "MAP"), "metric: got 'MAP'; expected one of: nDCG@1"),
        (("--systems", "bm25", "--split", "dev"), "there are judgements for: test"),
        (("--systems", "bm25", "--preset", "small"), "preset: got 'small'; expected smoke"),
        (("--systems", "bm25", "--limit", "0"), "limit is 0; expected 1 or more"),
        (("--systems", ","), "systems: got none"),
    ],
)
def test_a_mistake_is_said_before_anything_is_measured(program, folder, tmp_path, arguments, message):
    code, printed, error = program("run", "--data", folder, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert message in error
    assert printed == ""
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_folder_that_is_not_there_is_named(program, tmp_path):
    code, _, error = program("run", "--data", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert code == 2
    assert str(tmp_path / "nowhere") in error


def test_sets_that_cannot_be_read_are_listed_and_the_others_measured(program, folder, tmp_path):
    data = tmp_path / "data"
    good, bad = data / "knowledge" / "scifact", data / "knowledge" / "squad"
    for place in (good, bad):
        place.mkdir(parents=True)
        for file in folder.iterdir():
            with gzip.open(place / f"{file.name}.gz", "wb") as packed:
                packed.write(file.read_bytes())
    with gzip.open(bad / "corpus.jsonl.gz", "ab") as packed:
        packed.write(b'{"_id": "d1", "text": "again"}\n{"_id": \n')
    out = tmp_path / "out"
    code, printed, error = program(
        "run", "--data", data, "--suite", "knowledge", "--systems", "bm25", "--out", out, "--no-cost"
    )
    assert code == 1
    assert "knowledge/scifact" in printed
    assert "skipped knowledge/squad.test" in error
    assert "corpus.jsonl.gz:5" in error
    assert "knowledge/squad.test" in json.loads((out / "results.json").read_text())["skipped"]


def test_help_is_there_without_loading_a_model():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "evals", "run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--systems" in done.stdout
    assert "import time" in done.stderr
    assert " torch\n" not in done.stderr
