"""The command, from mined examples to shards and a report."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import trainer
from rag_embedder.errors import ConfigError, InputError
from tests.evals.language_model.completions_stub import completions_server
from tests.tiny_language_models import write_language_model
from trainer.examples import Candidate, Example
from trainer.reading import read_examples, write_examples
from trainer.score import app

ROOT = Path(trainer.__file__).parent.parent


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    write_language_model(folder / "lm")
    examples = [
        Example(
            id=f"q{number}",
            query=f"what is the capital of {place}",
            answers=[answer],
            candidates=[
                Candidate(id="d0", text=f"{answer} is the capital of {place}", label=1),
                Candidate(id="d1", text="a big dog"),
                Candidate(id="d2", text="one two three"),
            ],
        )
        for number, (place, answer) in enumerate([("france", "paris"), ("germany", "berlin"), ("norway", "oslo")])
    ]
    write_examples(examples, folder / "mined.jsonl")
    return folder


def invoke(mined, out, *options):
    fixed = ["--data", str(mined / "mined.jsonl"), "--out", str(out), "--device", "cpu"]
    return CliRunner().invoke(app, [*fixed, *options])


@pytest.mark.parametrize("reward", ["likelihood", "rank_aware"])
def test_a_language_model_scores_every_candidate(mined, tmp_path, reward):
    options = ["--scenario", "qa", "--reward", reward, "--lm", str(mined / "lm"), "--max-new-tokens", "4", "--json"]
    done = invoke(mined, tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert (outcome["num_scored_pairs"], outcome["report"]["num_pairs"]) == (9, 9)
    assert "9 pairs of 3 queries are left: about" in done.stderr
    rewards = [each.rewards for each in read_examples(tmp_path / "out")]
    if reward == "rank_aware":
        assert all(value == int(value) and -10 <= value <= 10 for row in rewards for value in row)
    else:
        assert all(value < 0 for row in rewards for value in row)
    settings = json.loads((tmp_path / "out" / "scoring.json").read_text())
    assert (settings["scenario"], settings["reward"], settings["settings"]["language_model"]) == ("qa", reward, "lm")
    command = json.loads((tmp_path / "out" / "report.json").read_text())["provenance"]["command"]
    assert command.startswith("python -m trainer.score")


def test_a_server_gives_the_rewards_of_the_model_itself(mined, tmp_path):
    options = ["--scenario", "qa", "--answers", "max"]
    with completions_server() as server:
        asked = ["--lm", server.url, "--tokenizer", str(mined / "lm")]
        done = invoke(mined, tmp_path / "server", *options, *asked)
    assert done.exit_code == 0, done.output
    assert invoke(mined, tmp_path / "local", *options, "--lm", str(mined / "lm")).exit_code == 0
    found, expected = (read_examples(tmp_path / name) for name in ("server", "local"))
    for left, right in zip(found, expected, strict=True):
        assert left.rewards == pytest.approx(right.rewards, abs=1e-4)


def test_an_answer_that_is_too_long_is_named_or_left_out(mined, tmp_path):
    options = ["--scenario", "qa", "--lm", str(mined / "lm")]
    read = read_examples(mined / "mined.jsonl")
    long = replace(read[0], id="long", answers=("one " * 300,))
    write_examples([*read, long], tmp_path / "mined.jsonl")
    refused = invoke(tmp_path, tmp_path / "out", *options)
    with pytest.raises(InputError, match=r"mined\.jsonl: example long: an answer has 300 tokens; .*--skip-unscorable"):
        raise refused.exception
    assert not (tmp_path / "out").exists()
    done = invoke(tmp_path, tmp_path / "out", *options, "--skip-unscorable")
    assert done.exit_code == 0, done.output
    assert "left out 1 examples that cannot be scored" in done.stderr
    assert [each.id for each in read_examples(tmp_path / "out")] == [each.id for each in read]


def test_the_program_scores_reports_and_continues(mined, tmp_path):
    arguments = ["--data", str(mined / "mined.jsonl"), "--out", str(tmp_path / "out"), "--scenario", "tool"]
    command = [sys.executable, "-m", "trainer.score", *arguments, "--reward", "labels"]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "9 pairs scored in" in first.stdout
    assert "| tool | 3 | 9 | 0.333 (0.000 to 1.000) |" in first.stdout
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "0 pairs scored in 0.0 s (0 pairs/s), 9 were there" in again.stdout
    assert "nothing is left to score" in again.stderr
    wrong = subprocess.run(command[:-2], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("trainer.score: lm: got none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scenario", "qaa"], "unknown scenario 'qaa'.*mean 'qa'"),
        (["--scenario", "qa", "--reward", "likelyhood"], "unknown reward 'likelyhood'.*mean 'likelihood'"),
        (["--scenario", "qa"], "lm: got none"),
        (["--scenario", "qa", "--part", "8"], "part: got '8'; expected i/n"),
        (["--scenario", "qa", "--answers", "all"], "answers: got 'all'; expected one of: draw, max, mean"),
    ],
)
def test_wrong_options_are_named(mined, tmp_path, options, message):
    done = invoke(mined, tmp_path / "out", *options)
    assert isinstance(done.exception, ConfigError)
    with pytest.raises(ConfigError, match=message):
        raise done.exception
    assert not (tmp_path / "out").exists()
