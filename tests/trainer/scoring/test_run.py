"""Scoring writes each pair once, whatever stops it, and refuses what it cannot continue."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import trainer
from rag_embedder.errors import ConfigError, InputError
from trainer.examples import Candidate, Example
from trainer.reading import read_examples, write_examples
from trainer.scoring import ScorePlan, score
from trainer.scoring.shards import Shard, plan_shards

ROOT = Path(trainer.__file__).parent.parent

SLOW = """
import sys, time
from pathlib import Path
from trainer.scoring import ScorePlan, score

class Slow:
    settings = {"lengths": 1}
    def check(self, examples): pass
    def rewards(self, examples):
        time.sleep(0.02)
        with open(sys.argv[3], "a") as log:
            log.write("".join(f"{each.id}\\n" for each in examples))
        return [[float(len(c.text)) for c in each.candidates] for each in examples]

score(ScorePlan(data=Path(sys.argv[1]), scenario="qa", reward="length", out=Path(sys.argv[2]), shard_pairs=4), Slow())
"""


class Lengths:
    """The length of a candidate; remembers what it was asked."""

    def __init__(self, **settings):
        self.settings = {"lengths": 1, **settings}
        self.asked = []

    def check(self, examples):
        for example in examples:
            if example.query == "bad":
                raise InputError(f"example {example.id} is bad.")

    def rewards(self, examples):
        self.asked += [example.id for example in examples]
        return [[float(len(candidate.text)) for candidate in example.candidates] for example in examples]


def some_examples(count, *, size=2):
    return [
        Example(
            id=f"q{number}",
            query=f"query {number}",
            answers=["x"],
            candidates=tuple(Candidate(id=f"d{each}", text="x" * (number + each + 1)) for each in range(size)),
        )
        for number in range(count)
    ]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "mined.jsonl"
    write_examples(some_examples(50), path)
    return path


def plan(data, **changes):
    out = data.parent / "out"
    return ScorePlan(**{"data": data, "scenario": "qa", "reward": "length", "out": out, "shard_pairs": 4, **changes})


def check_scores(out, count=50):
    found = read_examples(out)
    assert [each.id for each in found] == [f"q{number}" for number in range(count)]
    for number, each in enumerate(found):
        assert each.rewards == (number + 1.0, number + 2.0)
    assert found[3].answers == ("x",)
    assert found[3].candidates == some_examples(4)[3].candidates


def test_every_pair_is_scored_and_written_in_order(data):
    reward = Lengths()
    advanced = []
    outcome = score(plan(data), reward, advance=advanced.append, provenance={"seed": 3})
    check_scores(data.parent / "out")
    assert reward.asked == [f"q{number}" for number in range(50)]
    assert (sum(advanced), outcome.num_scored_pairs, outcome.num_kept_pairs) == (100, 100, 0)
    assert sorted(path.name for path in (data.parent / "out").iterdir()) == sorted(
        ["report.json", "scoring.json", *(f"scores-{number:06d}.jsonl" for number in range(25))]
    )
    assert outcome.report.num_pairs == 100
    written = json.loads((data.parent / "out" / "report.json").read_text())
    assert written["provenance"] == {"seed": 3}
    assert written["report"]["spread_mean"] == 1.0
    assert written["report"]["labelled_first"] is None


def test_killed_at_any_point_it_goes_on_and_writes_each_pair_once(data, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    log.touch()
    arguments = [sys.executable, "-c", SLOW, str(data), str(out), str(log)]
    for wanted in (3, 9):
        process = subprocess.Popen(arguments, cwd=ROOT)
        deadline = time.monotonic() + 60
        while len(list(out.glob("scores-*.jsonl"))) < wanted and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert len(list(out.glob("scores-*.jsonl"))) < 25
    # What a run leaves that is killed while it writes.
    (out / ".scores-000024.jsonl.1-2").write_text('{"id": "q4')
    scored_before = len(list(out.glob("scores-*.jsonl")))
    reward = Lengths()
    outcome = score(plan(data), reward)
    check_scores(out)
    assert reward.asked == [f"q{number}" for number in range(2 * scored_before, 50)]
    assert outcome.num_kept_pairs == 4 * scored_before
    # At most the shard that was being scored is scored again, by each of the two that were killed.
    assert len(log.read_text().splitlines()) <= 2 * scored_before + 2 * 2
    assert not list(out.glob(".*"))


def test_a_finished_run_is_not_repeated(data):
    first = score(plan(data), Lengths())
    reward = Lengths()
    again = score(plan(data), reward)
    assert reward.asked == []
    assert (again.num_scored_pairs, again.num_kept_pairs, again.report) == (0, 100, first.report)


def test_parts_share_one_folder(data):
    asked = []
    for part in ((1, 3), (0, 3), (2, 3)):
        reward = Lengths()
        outcome = score(plan(data, part=part), reward)
        asked += reward.asked
        assert (outcome.report is None) == (outcome.num_missing_shards > 0) == (part != (2, 3))
    assert sorted(asked) == sorted(f"q{number}" for number in range(50))
    check_scores(data.parent / "out")


def test_scores_of_other_settings_or_data_are_not_mixed(data):
    score(plan(data), Lengths(model="a"))
    with pytest.raises(ConfigError, match=r"other settings \(settings.model: 'a' there, 'b' now\)"):
        score(plan(data), Lengths(model="b"))
    with pytest.raises(ConfigError, match="shard_pairs: '4' there, '5' now"):
        score(plan(data, shard_pairs=5), Lengths(model="a"))
    write_examples(some_examples(51), data)
    with pytest.raises(ConfigError, match=r"data_sha256.*num_examples: '50' there, '51' now"):
        score(plan(data), Lengths(model="a"))


def test_a_folder_of_something_else_is_left_alone(data):
    out = data.parent / "out"
    out.mkdir()
    score(plan(data), Lengths())  # an empty folder will do
    other = data.parent / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match=r"not an empty folder.*give another"):
        score(plan(data, out=other), Lengths())
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_shard_that_was_changed_is_seen(data):
    out = data.parent / "out"
    score(plan(data), Lengths())
    shard = out / "scores-000001.jsonl"
    lines = shard.read_text().splitlines(keepends=True)
    shard.write_text(lines[0])
    with pytest.raises(InputError, match=r"scores-000001.jsonl: 1 lines; expected 2"):
        score(plan(data), Lengths())
    shard.write_text("".join(reversed(lines)))
    with pytest.raises(InputError, match=r"scores-000001.jsonl: other examples"):
        score(plan(data), Lengths())
    shard.unlink()
    score(plan(data), Lengths())
    check_scores(out)


def test_what_cannot_be_scored_is_said_before_anything_is_written(data):
    write_examples([*some_examples(3), Example(id="z", query="bad", candidates=[Candidate(id="d", text="t")])], data)
    with pytest.raises(InputError, match=r"mined.jsonl: example z is bad"):
        score(plan(data), Lengths())
    assert not (data.parent / "out").exists()


def test_what_cannot_be_scored_is_left_out_if_asked(data):
    bad = [Example(id=f"z{n}", query="bad", candidates=[Candidate(id="d", text="t")]) for n in range(2)]
    write_examples([bad[0], *some_examples(50), bad[1]], data)
    with pytest.raises(InputError, match=r"example z0 is bad\. \(--skip-unscorable leaves out all such examples\.\)"):
        score(plan(data), Lengths())
    outcome = score(plan(data, skip_unscorable=True), Lengths())
    assert (outcome.num_left_out, outcome.num_scored_pairs, outcome.report.num_examples) == (2, 100, 50)
    check_scores(data.parent / "out")
    again = score(plan(data, skip_unscorable=True), Lengths())
    assert (again.num_left_out, again.num_scored_pairs, again.num_kept_pairs) == (2, 0, 100)
    write_examples(bad, data)
    with pytest.raises(InputError, match=r"mined.jsonl: example z0 is bad\.$"):
        score(plan(data, skip_unscorable=True), Lengths())


def test_nan_rewards_are_never_written(data):
    class Broken(Lengths):
        def rewards(self, examples):
            return [[float("nan")] * len(example.candidates) for example in examples]

    with pytest.raises(InputError, match=r"scores-000000.jsonl:1: rewards\[0\] is nan"):
        score(plan(data), Broken())
    assert [path.name for path in (data.parent / "out").iterdir()] == ["scoring.json"]


def test_an_estimate_writes_nothing(data):
    guesses = []
    outcome = score(plan(data), Lengths(), on_estimate=guesses.append, stops_after_estimate=True)
    assert guesses[0].num_pairs == 100
    assert outcome.report is None
    assert not (data.parent / "out").exists()


def test_shards_close_when_they_have_enough_pairs():
    assert plan_shards(some_examples(5), 3) == [Shard(0, 0, 2), Shard(1, 2, 4), Shard(2, 4, 5)]
    assert plan_shards(some_examples(2, size=9), 4) == [Shard(0, 0, 1), Shard(1, 1, 2)]
    assert plan_shards([], 4) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"part": (3, 3)}, "part: got 3/3"), ({"shard_pairs": 0}, "shard_pairs"), ({"reward_temperature": 0.0}, "more")],
)
def test_plans_out_of_range_are_refused(data, wrong, message):
    with pytest.raises(ConfigError, match=message):
        plan(data, **wrong)
