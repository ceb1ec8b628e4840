"""A result so small that every figure of its tables is known."""

from evals.comparisons import Comparisons
from evals.records import SetResult
from evals.results import Results
from evals.significance import Comparison, Interval
from tests.evals.report.fake_results import PROVENANCE

BASELINE = "bm25"
SETS = (
    ("knowledge", "qa", "knowledge/a.test", True, 1234),
    ("knowledge", "qa", "knowledge/b.dev", False, 10),
    ("custom", "legal", "c.d.test", None, 7),
)
MEANS = {
    (BASELINE, "knowledge/a.test"): 0.5,
    ("new", "knowledge/a.test"): 0.7,
    (BASELINE, "knowledge/b.dev"): 0.3,
    ("new", "knowledge/b.dev"): 0.6,
    (BASELINE, "c.d.test"): 0.9,
}


def hand_made_results(systems=(BASELINE, "new"), **changed):
    """Two queries a set; the second system lacks the last set."""
    results = [
        SetResult(
            system=system,
            key=key,
            scenario=scenario,
            suite=suite,
            num_queries=2,
            num_documents=num_documents,
            is_zero_shot=is_zero_shot,
            checksum="c0ffee",
            values={"nDCG@10": {"q1": MEANS.get((system, key), 0.5), "q2": MEANS.get((system, key), 0.5)}},
        )
        for suite, scenario, key, is_zero_shot, num_documents in SETS
        for system in systems
        if system == BASELINE or key != "c.d.test"
    ]
    given = {"provenance": PROVENANCE, "arguments": {}, "systems": {name: {} for name in systems}, "results": results}
    return Results(**given | changed)


def hand_made_comparisons(adjusted=None):
    """The means above with intervals of 0.1 to each side; the new system is surely better on the first set alone."""
    return Comparisons(
        metric="nDCG@10",
        baseline=BASELINE,
        set_means={place: interval(mean) for place, mean in MEANS.items()},
        scenario_means={
            (BASELINE, "qa"): interval(0.4),
            ("new", "qa"): interval(0.65),
            (BASELINE, "legal"): interval(0.9),
        },
        by_set={
            ("new", "knowledge/a.test"): comparison(0.2, p_value=0.01),
            ("new", "knowledge/b.dev"): comparison(0.3, p_value=0.2),
        },
        by_scenario={("new", "qa"): comparison(0.25, p_value=0.03)},
        adjusted={("new", "qa"): 0.03} if adjusted is None else adjusted,
    )


def interval(mean):
    return Interval(mean=mean, low=mean - 0.1, high=mean + 0.1)


def comparison(difference, *, p_value):
    return Comparison(
        difference=difference,
        low=difference - 0.05,
        high=difference + 0.05,
        p_value=p_value,
        n=2,
        wins=1,
        ties=1,
        losses=0,
    )
