"""Systems against a baseline, and runs against each other."""

import dataclasses

import pytest

from evals.between_runs import compare_runs, comparison_table
from evals.comparisons import compare_systems
from evals.records import Cost, SetResult
from evals.results import Results, load_results, save_results
from rag_embedder.errors import ConfigError, InputError


def result(system, key, values, scenario="qa", checksum="c"):
    per_query = {f"q{number}": value for number, value in enumerate(values)}
    return SetResult(
        system=system,
        key=key,
        scenario=scenario,
        suite="knowledge",
        num_queries=len(values),
        num_documents=9,
        is_zero_shot=None,
        checksum=checksum,
        values={"nDCG@10": per_query, "RR@10": per_query},
    )


def results(*found, arguments=None):
    return Results(
        provenance={"commit": "abc"},
        arguments=arguments or {},
        systems={name: {"kind": "test"} for name in dict.fromkeys(each.system for each in found)},
        results=found,
        costs={
            "bm25": Cost(
                documents_per_second=None,
                query_p50_ms=1,
                query_p99_ms=2,
                index_bytes_per_document=3,
                peak_memory_bytes=None,
            )
        },
        skipped={"a.test": "gone"},
        wall={"encoding": 1.5},
    )


def test_a_scenario_is_the_mean_of_its_sets_not_of_its_queries():
    found = results(
        result("bm25", "a.test", [0.0, 0.0, 0.0, 0.0]),
        result("bm25", "b.test", [1.0]),
        result("ours", "a.test", [0.5, 0.5, 0.5, 0.5]),
        result("ours", "b.test", [1.0]),
    )
    comparisons = compare_systems(found, baseline="bm25")
    assert comparisons.scenario_means["bm25", "qa"].mean == 0.5
    assert comparisons.scenario_means["ours", "qa"].mean == 0.75
    assert comparisons.by_scenario["ours", "qa"].difference == 0.25
    assert comparisons.by_set["ours", "a.test"].difference == 0.5
    assert (comparisons.by_set["ours", "a.test"].wins, comparisons.by_set["ours", "b.test"].ties) == (4, 1)
    # Four of four flipped the same way: 2 of 16 sign patterns are as extreme.
    assert comparisons.by_set["ours", "a.test"].p_value == 2 / 16
    assert comparisons.adjusted["ours", "qa"] == comparisons.by_scenario["ours", "qa"].p_value


def test_the_first_system_is_the_baseline_and_one_system_has_none():
    two = results(result("bm25", "a.test", [0.1]), result("ours", "a.test", [0.2]))
    assert compare_systems(two).baseline == "bm25"
    alone = compare_systems(results(result("ours", "a.test", [0.2, 0.4])))
    assert (alone.baseline, alone.by_set, alone.by_scenario) == (None, {}, {})
    assert alone.set_means["ours", "a.test"].mean == pytest.approx(0.3)


def test_only_sets_that_both_have_are_compared():
    found = results(result("bm25", "a.test", [0.0]), result("ours", "a.test", [0.5]), result("ours", "b.test", [0.0]))
    comparisons = compare_systems(found)
    assert list(comparisons.by_set) == [("ours", "a.test")]
    assert comparisons.by_scenario["ours", "qa"].difference == 0.5


def test_an_unknown_baseline_or_metric_is_answered_with_the_known_ones():
    found = results(result("bm25", "a.test", [0.1]), result("ours", "a.test", [0.2]))
    with pytest.raises(ConfigError, match="baseline: got 'bm52'; expected one of the run's systems: bm25, ours"):
        compare_systems(found, baseline="bm52")
    with pytest.raises(ConfigError, match="metric: got 'MAP'; expected one of: nDCG@10, RR@10"):
        compare_systems(found, metric="MAP")


def test_comparisons_as_json_name_their_places():
    found = compare_systems(results(result("bm25", "a.test", [0.1]), result("ours", "a.test", [0.2]))).to_json()
    assert found["baseline"] == "bm25"
    assert found["set_differences"][0] | {"system": "ours", "set": "a.test", "wins": 1} == found["set_differences"][0]
    assert found["scenarios"][0]["scenario"] == "qa"


def test_results_are_read_back_equal(tmp_path):
    found = results(result("bm25", "a.test", [0.1, 0.25]))
    save_results(found, tmp_path)
    back = load_results(tmp_path)
    assert dataclasses.asdict(back) == {**dataclasses.asdict(found), "results": [dataclasses.asdict(found.results[0])]}
    assert load_results(tmp_path / "results.json").results[0] == found.results[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; expected the folder of a run"),
        ("{", "cannot be read"),
        ("[]", "is not the results of a run of format 1"),
        ('{"format": 2}', "is not the results of a run of format 1"),
        ('{"format": 1, "results": []}', "is damaged"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_results(tmp_path)


def test_two_runs_are_compared_on_what_both_measured_on_the_same_files():
    first = results(
        result("ours", "a.test", [0.5, 1.0]), result("ours", "b.test", [1.0]), result("ours", "c.test", [1.0])
    )
    second = results(
        result("theirs", "a.test", [0.5, 0.0]),
        result("theirs", "b.test", [0.0], checksum="changed"),
        result("theirs", "d.test", [0.0]),
    )
    rows = compare_runs(first, second, metric="nDCG@10")
    assert [(row.a, row.b, row.key) for row in rows] == [("ours", "theirs", "a.test"), ("ours", "theirs", None)]
    assert (rows[0].mean_a, rows[0].mean_b, rows[0].comparison.difference) == (0.75, 0.25, 0.5)
    table = comparison_table(rows, "nDCG@10")
    assert "| ours | theirs | qa | a.test | 2 | 75.0 | 25.0 | +50.0 | +0.0 to +100.0 | 1.0000 | 1 / 1 / 0 |" in table


def test_systems_of_one_name_are_compared_and_others_must_be_named():
    first = results(result("bm25", "a.test", [0.1]), result("ours", "a.test", [0.2]))
    second = results(result("bm25", "a.test", [0.3]), result("theirs", "a.test", [0.4]))
    assert {(row.a, row.b) for row in compare_runs(first, second, metric="RR@10")} == {("bm25", "bm25")}
    named = compare_runs(first, second, a="ours", b="theirs", metric="RR@10")
    assert {(row.a, row.b) for row in named} == {("ours", "theirs")}
    assert {(row.a, row.b) for row in compare_runs(first, first, a="ours", b="bm25", metric="RR@10")} == {
        ("ours", "bm25")
    }
    with pytest.raises(ConfigError, match="which systems are meant is not clear"):
        compare_runs(first, second, a="ours", metric="RR@10")
    with pytest.raises(ConfigError, match="--b: got 'ours'; expected one of: bm25, theirs"):
        compare_runs(first, second, a="ours", b="ours", metric="RR@10")


def test_runs_without_a_common_set_are_refused():
    with pytest.raises(InputError, match="no set was measured by both runs"):
        compare_runs(results(result("a", "x.test", [1.0])), results(result("b", "y.test", [1.0])), metric="RR@10")
