"""The runs that are compared: what each changes of the common recipe, and nothing else."""

from dataclasses import replace

import pytest

from benchmarks.ablations import LABELS_ONLY, RUNS, in_one_set, recipe_of
from trainer.examples import Candidate, Example
from trainer.reading import read_examples, write_examples
from trainer.recipe import load_recipe, save_recipe


@pytest.fixture
def common(tmp_path):
    return recipe_of(RUNS["contrastive"], tmp_path / "out")


def test_distillation_changes_loss_and_files_of_the_sets_with_a_teacher(common, tmp_path):
    found = recipe_of(RUNS["graded, rank-aware"], tmp_path / "out")
    assert found.train == common.train
    assert found.model == common.model
    changed = [settings for settings, before in zip(found.data, common.data, strict=True) if settings != before]
    assert {settings.name for settings in changed} == {
        settings.name for settings in common.data if settings.is_trained and settings.name not in LABELS_ONLY
    }
    assert {tuple(settings.loss) for settings in changed} == {("graded_distillation",)}
    assert {settings.path for settings in changed} == {f"ablation/rank_aware/{settings.name}" for settings in changed}
    assert {settings.reward_temperature for settings in changed} == {1.0}


def test_likelihoods_have_the_temperature_of_each_set(common, tmp_path):
    found = recipe_of(RUNS["kl"], tmp_path / "out")
    temperatures = [settings.reward_temperature for settings in found.data]
    assert temperatures == [settings.reward_temperature for settings in common.data]
    assert len(set(temperatures)) > 10


def test_one_scenario_is_trained_and_all_are_measured(common, tmp_path):
    found = recipe_of(RUNS["tools only"], tmp_path / "out")
    assert {settings.scenario for settings in found.data if settings.is_trained} == {"tool"}
    measured = [settings.name for settings in common.data if settings.dev]
    assert [settings.name for settings in found.data if settings.dev] == measured


def test_every_run_differs_from_the_first(common, tmp_path):
    others = [recipe_of(changes, tmp_path / "out") for changes in RUNS.values() if not changes.mixed]
    assert others[0] == common
    assert all(recipe != common for recipe in others[1:])


def test_all_sets_in_one_keep_their_ids_apart(common, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = Example(id="q", query="q", candidates=(Candidate(id="d", text="t", label=1), Candidate(id="e", text="u")))
    data = [replace(settings, path=f"{settings.name}.jsonl") for settings in common.data[:2]]
    for settings in data:
        write_examples([replace(example, query=settings.name)], tmp_path / settings.path)
    found = in_one_set(replace(common, data=tuple(data)))
    assert [(settings.name, settings.is_trained) for settings in found.data] == [
        ("all", True),
        *((settings.name, False) for settings in data),
    ]
    first, second = read_examples(found.data[0].path)
    assert (first.id, second.id) == (f"{data[0].name}/q", f"{data[1].name}/q")
    assert [candidate.id for candidate in second.candidates] == [f"{data[1].name}/d", f"{data[1].name}/e"]
    assert load_recipe(save_recipe(found, tmp_path / "recipe.toml")) == found
