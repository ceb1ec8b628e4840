"""Figures about rewards, counted by hand."""

import math

import pytest

from trainer.examples import Candidate, Example
from trainer.scoring.report import RewardStatistics, report_table


def scored(rewards, labels=()):
    labels = [*labels, *[0] * (len(rewards) - len(labels))]
    candidates = [Candidate(id=str(n), text="t", label=label) for n, label in enumerate(labels)]
    return Example(id="q", query="q", candidates=candidates, rewards=rewards)


def report_of(examples, **options):
    statistics = RewardStatistics("qa", **options)
    statistics.add(examples)
    return statistics.report()


def test_the_figures_by_hand():
    found = report_of(
        [
            scored((0.0, -10.0, -10.0), labels=(0, 1)),  # one-hot; one of three pairs ties; the labelled is not first
            scored((1.0, 1.0, 1.0), labels=(1,)),  # flat: three ties of three; a labelled one is among the first
            scored((2.0, 1.5)),
            scored((3.0,)),  # alone: no group
        ]
    )
    assert (found.num_examples, found.num_pairs) == (4, 9)
    assert (found.reward_mean, found.reward_min, found.reward_max) == (pytest.approx(-10.5 / 9), -10.0, 3.0)
    assert found.spread_mean == pytest.approx(10.5 / 4)
    assert found.spread_percentiles == (0.0, 0.0, 10.0)
    assert found.tied_pairs == pytest.approx(4 / 7)
    assert (found.flat, found.one_hot) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert found.labelled_first == 0.5
    # First example: one tie, one loss. Second: two ties. The others have nothing to tell apart.
    assert found.auc == pytest.approx((0.25 + 0.5) / 2)


def test_one_hot_depends_on_the_temperature():
    # Softmax of 4.5 and 0 gives 0.989, of 4.6 and 0 gives 0.990048.
    assert report_of([scored((4.5, 0.0))]).one_hot == 0.0
    assert report_of([scored((4.6, 0.0))]).one_hot == 1.0
    assert report_of([scored((4.6, 0.0))], reward_temperature=2.0).one_hot == 0.0
    assert report_of([scored((0.46, 0.0))], reward_temperature=0.1).one_hot == 1.0


def test_nothing_to_count_is_nan_and_a_dash():
    found = report_of([scored((1.0,))])
    assert all(
        math.isnan(each) for each in (found.tied_pairs, found.flat, found.one_hot, found.labelled_first, found.auc)
    )
    assert report_table([found]).splitlines()[-1] == (
        "| qa | 1 | 1 | 1.000 (1.000 to 1.000) | 0.000 (0.000, 0.000, 0.000) | - | - | - | - | - |"
    )


def test_one_line_per_scenario():
    table = report_table([report_of([scored((0.0, -8.0), labels=(1,))])] * 2).splitlines()
    assert len(table) == 4
    assert table[2] == (
        "| qa | 1 | 2 | -4.000 (-8.000 to 0.000) | 8.000 (8.000, 8.000, 8.000) "
        "| 0.0% | 0.0% | 100.0% | 100.0% | 1.000 |"
    )
