"""What a run says at its end."""

from dataclasses import replace

from trainer.examples import Example
from trainer.fit_summary import describe_data, summary
from trainer.loop import Progress
from trainer.settings import DataSettings, TrainSettings
from trainer.training_sets import TrainingSet

TRAIN = TrainSettings(steps=100, out="runs/x", eval_every=10, patience=2)


def progress(**changes):
    said = {
        "best": 0.75,
        "best_step": 30,
        "metrics": {"qa": 0.5, "tool": 0.25},
        "base_metrics": {"qa": 0.125, "tool": 0.375},
        "losses": {"a": {"first": [3.0, 1.0], "last": [0.5, 0.25]}},
    }
    return Progress(**{**said, **changes})


def test_losses_metrics_and_where_the_best_weights_are():
    assert summary(TRAIN, progress(), step=100, padding=0.015).splitlines() == [
        "data set             first loss  last loss",
        "a                        2.0000     0.3750",
        "scenario                   base        now   nDCG@10 on dev",
        "qa                       0.1250     0.5000",
        "tool                     0.3750     0.2500",
        "best mean 0.7500 at step 30: runs/x/best",
        "padding 1.50% of computed tokens; checkpoints in runs/x/checkpoints",
    ]


def test_a_run_that_stopped_early_and_was_never_better_than_its_base_says_so():
    lines = summary(TRAIN, progress(best_step=0, worse_in_row=2), step=20, padding=0).splitlines()
    assert lines[-3:-1] == [
        "stopped early: 2 evaluations without a better mean (train.patience)",
        "no step was better than the base (mean 0.7500); an export takes the last step",
    ]


def test_a_run_begun_without_evaluation_has_no_base_to_show():
    lines = summary(TRAIN, progress(base_metrics={}), step=100, padding=0).splitlines()
    assert lines[3] == "qa                            -     0.5000"


def test_without_evaluation_there_are_losses_only():
    assert len(summary(TRAIN, progress(metrics={}), step=100, padding=0).splitlines()) == 3


def test_data_sets_say_what_was_left_out():
    settings = DataSettings(name="a", path="a.jsonl", scenario="qa", loss={"contrastive": 1.0})
    examples = [Example(id="q", query="x", candidates=())]
    chosen = TrainingSet(settings, examples, left_out={"no negative": 2, "no rewards": 1})
    assert describe_data({"a": chosen}) == "a: 1 examples, qa; left out 2: no negative; left out 1: no rewards"
    only_measured = TrainingSet(replace(settings, weight=0.0, dev="dev.jsonl"), [], dev=examples)
    assert describe_data({"a": only_measured}) == "a: 1 queries, only measured, qa"
