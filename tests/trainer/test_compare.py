"""Runs side by side: from the values of dev queries to a table."""

import json
import sys

import pytest

from evals.significance import compare_sets, interval_of_sets
from rag_embedder.errors import InputError
from tests.trainer.fit_cases import make_recipe
from trainer import compare
from trainer.compare import block, compared, table
from trainer.dev_values import read_dev_values, write_dev_values
from trainer.fit import fit_recipe
from trainer.recipe import save_recipe
from trainer.run_folder import RECIPE
from trainer.settings import DataSettings

BEFORE = {"qa": {f"q{number}": 0.5 for number in range(20)}, "tool": {"t": 0.25}}


def scaled(by):
    return {name: {query: value * by for query, value in each.items()} for name, each in BEFORE.items()}


@pytest.fixture
def runs(tmp_path):
    """Two runs that were evaluated before training and after 8 steps."""
    folders = [tmp_path / "contrastive", tmp_path / "kl"]
    for folder, by in zip(folders, (1.5, 2.0), strict=True):
        save_recipe(make_recipe(tmp_path), folder / RECIPE)
        write_dev_values(BEFORE, folder, step=0)
        write_dev_values(scaled(by * 0.8), folder, step=4)
        write_dev_values(scaled(by), folder, step=8)
    return folders


def test_the_first_run_before_and_after_then_the_others(runs):
    before, first, second = compared(runs)
    assert [(row.name, row.step) for row in (before, first, second)] == [
        ("before training", 0),
        ("contrastive", 8),
        ("kl", 8),
    ]
    assert before.by_scenario == {"qa": 0.5, "tool": 0.25}
    assert second.by_scenario == {"qa": 1.0, "tool": 0.5}
    assert first.difference is None
    assert second.difference == compare_sets(scaled(2.0), scaled(1.5))
    assert second.interval == interval_of_sets(scaled(2.0))
    assert second.difference.difference == pytest.approx((0.25 + 0.125) / 2)


def test_another_step(runs):
    rows = compared(runs, step=4)
    assert [row.step for row in rows] == [0, 4, 4]
    assert rows[1].by_scenario["qa"] == pytest.approx(0.6)


def test_a_table_in_per_cent_that_marks_what_is_no_chance(runs):
    lines = table(compared(runs)).splitlines()
    assert lines[0] == "| run | steps | mean of the sets | against contrastive | qa | tool |"
    assert lines[3] == "| contrastive | 8 | 56.2 [56.2, 56.2] |  | 75.0 | 37.5 |"
    assert lines[4] == "| kl | 8 | 75.0 [75.0, 75.0] | ▲ +18.8 [+18.8, +18.8] | 100.0 | 50.0 |"
    assert "▼ -18.8" in lines[2]


def test_what_cannot_be_compared(runs, tmp_path):
    with pytest.raises(InputError, match=r"no dev values of step 5; there are those of steps \[0, 4, 8\]"):
        compared(runs, step=5)
    with pytest.raises(InputError, match=r"no dev values of any step.*train.eval_every"):
        read_dev_values(tmp_path / "nothing")
    write_dev_values({"qa": BEFORE["qa"]}, runs[1], step=8)
    with pytest.raises(InputError, match=r"kl was evaluated on qa, .*contrastive on qa, tool"):
        compared(runs)
    (runs[1] / "dev" / "step-8.json").write_text("[1]")
    with pytest.raises(InputError, match=r"step-8.json is damaged"):
        compared(runs)


def test_the_command_writes_into_a_document(runs, tmp_path, monkeypatch, capsys):
    document = tmp_path / "results.md"
    document.write_text("# Runs\n<!-- results: runs -->\nold\n<!-- end of results -->\nrest\n")
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, runs), "--into", str(document), "--json"])
    with pytest.raises(SystemExit) as left:
        compare.main()
    assert left.value.code == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["before training", "contrastive", "kl"]
    expected = f"# Runs\n<!-- results: runs -->\n{block(compared(runs))}\n<!-- end of results -->\nrest\n"
    assert document.read_text() == expected
    assert "<!-- Made by `python -m trainer.compare contrastive kl`. Do not edit. -->" in expected


def test_a_run_leaves_the_values_of_its_dev_queries_also_of_sets_it_only_measures(tmp_path):
    unseen = DataSettings(name="unseen", dev="smoke:tool.dev", scenario="tool", loss={"contrastive": 1.0}, weight=0)
    recipe = make_recipe(tmp_path, eval_every=2, steps=2)
    recipe = make_recipe(tmp_path, eval_every=2, steps=2, data=(recipe.data[0], unseen))
    progress = fit_recipe(recipe, show_progress=False)
    step, values = read_dev_values(tmp_path / "out")
    assert step == 2
    assert values.keys() == {"qa", "unseen"}
    assert sum(values["unseen"].values()) / len(values["unseen"]) == pytest.approx(progress.metrics["tool"])
    log = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert {json.loads(line).get("dataset") for line in log} <= {"qa", None}
