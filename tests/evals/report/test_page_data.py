"""What the page's script reads."""

import json

import pytest

from evals.report import page_data as module
from evals.report.examples import ExampleQuery, FoundBy, SetExamples
from evals.report.page_data import page_data
from tests.evals.report.fake_results import SETS, fake_results
from tests.evals.report.hand_made import BASELINE, hand_made_results

HOSTILE = "</script><!--<script>alert(1)</script>&amp;\u2028"


def test_values_are_thousandths_by_system_and_set():
    data = json.loads(page_data(hand_made_results(), {}, metric="nDCG@10", baseline=BASELINE))
    assert (data["metric"], data["systems"], data["baseline"]) == ("nDCG@10", ["bm25", "new"], 0)
    assert [each["values"] for each in data["sets"]] == [
        [[500, 500], [700, 700]],
        [[300, 300], [600, 600]],
        [[900, 900], None],
    ]
    assert data["sets"][2]["means"] == [900, None]


def test_no_text_ends_the_element_it_stands_in():
    examples = SetExamples(
        queries=[
            ExampleQuery(
                id=HOSTILE,
                text=HOSTILE,
                history=[("user", HOSTILE)],
                found={BASELINE: FoundBy(hits=[("d", 0), ("elsewhere", None)], first_relevant=3)},
            )
        ],
        documents={"d": HOSTILE},
        per_side=4,
    )
    text = page_data(hand_made_results(), {"knowledge/a.test": examples}, metric="nDCG@10", baseline=None)
    assert not set("<>&") & set(text)
    first = json.loads(text)["sets"][0]
    assert first["documents"] == [["d", HOSTILE]]
    assert first["perSide"] == 4
    assert first["examples"] == [
        {
            "id": HOSTILE,
            "text": HOSTILE,
            "history": [["user", HOSTILE]],
            "values": [None, None],
            "hits": [[[0, 0], ["elsewhere", None]], None],
            "first": [3, None],
        }
    ]


def test_of_too_many_queries_some_are_kept_evenly_spread(monkeypatch):
    monkeypatch.setattr(module, "_MOST_VALUES", 0)
    monkeypatch.setattr(module, "_FEWEST_QUERIES", 3)
    results = fake_results(("a",), SETS[:1], num_queries=9)
    values = results.results[0].values["nDCG@10"]
    ids = sorted(values)
    (first,) = json.loads(page_data(results, {}, metric="nDCG@10", baseline=None))["sets"]
    kept = [ids[place * len(ids) // 3] for place in range(3)]
    assert first["values"] == [[round(1000 * values[id_]) for id_ in kept]]
    assert first["queries"] == len(ids)
    assert first["means"] == [pytest.approx(1000 * sum(values.values()) / len(ids), abs=0.01)]
