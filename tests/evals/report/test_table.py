"""The rows behind every table: what is best, what is marked, what is averaged."""

from dataclasses import replace

import pytest

from evals.comparisons import Comparisons
from evals.report.table import means_of_scenarios, per_cent, scenario_rows, signed
from evals.significance import Comparison, Interval
from tests.evals.report.hand_made import BASELINE, comparison, hand_made_comparisons, hand_made_results


@pytest.fixture
def rows():
    return scenario_rows(hand_made_results(), hand_made_comparisons())


def test_sets_stand_under_their_scenario_in_the_order_of_the_run(rows):
    assert [(row.title, [each.key for each in row.sets]) for row in rows] == [
        ("Knowledge", ["knowledge/a.test", "knowledge/b.dev"]),
        ("legal", ["c.d.test"]),
    ]
    assert rows[0].num_queries == 4


def test_a_set_says_its_name_split_and_whether_its_source_is_new(rows):
    described = [(each.name, each.split, each.source) for row in rows for each in row.sets]
    assert described == [("knowledge/a", "test", "zero-shot"), ("knowledge/b", "dev", "in-domain"), ("c.d", "test", "")]


def test_a_system_that_lacks_a_set_has_no_cell_there(rows):
    assert set(rows[1].cells) == {BASELINE}
    assert set(rows[1].sets[0].cells) == {BASELINE}


def test_the_best_is_what_prints_highest_and_nothing_is_best_alone(rows):
    assert {name for name, cell in rows[0].cells.items() if cell.is_best} == {"new"}
    assert not rows[1].cells[BASELINE].is_best


def test_marks_need_a_p_value_below_one_in_twenty_after_adjustment():
    results = hand_made_results(systems=(BASELINE, "x", "y"))
    key = "knowledge/a.test"
    given = {("x", key): comparison(0.1, p_value=0.03), ("y", key): comparison(-0.1, p_value=0.02)}
    means = {(name, key): Interval(mean=0.5, low=0.4, high=0.6) for name in (BASELINE, "x", "y")}
    found = Comparisons(
        metric="nDCG@10",
        baseline=BASELINE,
        set_means=means,
        scenario_means={},
        by_set=given,
        by_scenario={},
        adjusted={},
    )
    cells = scenario_rows(results, found)[0].sets[0].cells
    # Holm: the smaller is doubled, 0.04; the larger is at least as large, 0.04.
    assert [(cells[name].adjusted, cells[name].mark) for name in ("x", "y")] == [(0.04, "▲"), (0.04, "▼")]
    alike = {("x", key): comparison(0.1, p_value=0.03), ("y", key): comparison(-0.1, p_value=0.03)}
    unsure = replace(found, by_set=alike)
    assert [cell.mark for cell in scenario_rows(results, unsure)[0].sets[0].cells.values()] == ["", "", ""]


def test_the_mean_over_scenarios_takes_those_that_all_systems_have(rows):
    assert means_of_scenarios(rows, [BASELINE, "new"]) == {BASELINE: 0.4, "new": 0.65}
    assert means_of_scenarios(rows, [BASELINE]) == {BASELINE: pytest.approx((0.4 + 0.9) / 2)}
    assert means_of_scenarios(rows[1:], [BASELINE, "new"]) == {}


def test_numbers_are_printed_to_a_tenth_of_a_per_cent():
    assert [per_cent(value) for value in (0.71264, 1.0, 0.0)] == ["71.3", "100.0", "0.0"]
    assert [signed(value) for value in (0.031, -0.0042, -0.0001, 0.0)] == ["+3.1", "\N{MINUS SIGN}0.4", "0.0", "0.0"]


def test_a_comparison_without_an_adjusted_value_is_not_marked():
    assert isinstance(comparison(0.5, p_value=0.0001), Comparison)
    row = scenario_rows(hand_made_results(), hand_made_comparisons(adjusted={}))[0]
    assert row.cells["new"].mark == ""
