"""Positions in the charts, computed by hand, and what they say to those who do not see them."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from evals.report.charts import Bar, Point, bar_chart, decades, plot, short_number, shortened, top_of


def parsed(chart):
    return ElementTree.fromstring(str(chart))


def test_a_bar_is_as_long_as_its_value_and_its_whisker_spans_the_interval():
    chart = parsed(bar_chart([Bar(name="a", value=0.5, low=0.4, high=0.75)], name="n", title="t", end=1.0))
    bar = chart.find(".//rect")
    assert bar is not None
    # 340 wide less 6 on each side: 328 units are 100 %.
    assert (bar.get("x"), bar.get("width")) == ("6.0", "164.0")
    whisker = chart.find(".//path[@class='whisker']")
    assert whisker is not None
    # 6 + 0.4 x 328 = 137.2; 6 + 0.75 x 328 = 252
    assert re.match(r"M137\.2 [\d.]+H252\.0M137\.2 ", whisker.get("d") or "")


def test_an_axis_that_ends_at_40_per_cent_makes_bars_longer():
    chart = parsed(bar_chart([Bar(name="a", value=0.2, low=0.2, high=0.2)], name="n", title="t", end=0.4))
    bar = chart.find(".//rect")
    assert bar is not None
    assert bar.get("width") == "164.0"
    ticks = [node.text for node in chart.iter("text") if "tick" in (node.get("class") or "")]
    assert ticks == ["0", "10", "20", "30", "40"]


def test_bars_stand_below_each_other_and_the_baseline_is_another_kind():
    bars = [Bar(name="a", value=0, low=0, high=0, is_baseline=True), Bar(name="b", value=0, low=0, high=0)]
    found = [
        (node.get("class"), node.get("y")) for node in parsed(bar_chart(bars, name="n", title="t", end=1)).iter("rect")
    ]
    assert found == [("baseline", "20.0"), ("bar", "58.0")]


def test_a_point_lies_on_a_logarithmic_axis():
    points = [
        Point(number=1, name="a", x=1.0, y=0.0),
        Point(number=2, name="b", x=10.0, y=0.5),
        Point(number=3, name="c", x=100.0, y=1.0),
    ]
    chart = parsed(plot(points, name="n", title="t", x_label="x", end=1.0))
    # Across from 34 to 328, two decades; up from 236 - 40 = 196 to 12.
    assert [(node.get("cx"), node.get("cy")) for node in chart.iter("circle")] == [
        ("34.0", "196.0"),
        ("181.0", "104.0"),
        ("328.0", "12.0"),
    ]
    assert [node.text for group in chart.iter("g") for node in group.iter("text")] == ["1", "2", "3"]


def test_a_chart_tells_in_words_what_it_shows():
    chart = parsed(
        bar_chart([Bar(name="<a>", value=0.5, low=0.4, high=0.75, note="▲")], name="n", title="T&T", end=1.0)
    )
    assert chart.get("role") == "img"
    assert chart.get("aria-labelledby") == "n-title n-text"
    assert [(node.get("id"), node.text) for node in chart][:2] == [
        ("n-title", "T&T"),
        ("n-text", "<a> 50.0 ▲, interval 40.0 to 75.0."),
    ]
    point = parsed(plot([Point(number=1, name="a&b", x=1234.5, y=0.5)], name="p", title="t", x_label="x", end=1.0))
    assert point.findtext("desc") == "a&b: 1234, quality 50.0."


@pytest.mark.parametrize(
    ("values", "end"), [([0.03], 0.05), ([0.41, 0.2], 0.6), ([0.81], 1.0), ([0.0], 1.0), ([], 1.0)]
)
def test_an_axis_ends_at_the_next_round_share(values, end):
    assert top_of(values) == end


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], (1.0, 10.0, [1.0, 2.0, 5.0, 10.0])),
        ([10.0], (10.0, 100.0, [10.0, 20.0, 50.0, 100.0])),
        ([0.5, 20.0], (0.1, 100.0, [0.1, 1.0, 10.0, 100.0])),
        ([1.0, 1e6], (1.0, 1e6, [1.0, 100.0, 10_000.0, 1e6])),
    ],
)
def test_a_logarithmic_axis_spans_whole_decades(values, expected):
    start, stop, ticks = decades(values)
    assert (start, stop) == pytest.approx(expected[:2])
    assert ticks == pytest.approx(expected[2])


def test_numbers_and_names_are_shortened():
    assert [short_number(value) for value in (0.5, 999, 20_000, 2.5e6, 1e9)] == ["0.5", "999", "20k", "2.5M", "1G"]
    assert shortened("a" * 34) == "a" * 34
    assert shortened("a" * 30 + "b" * 30) == "a" * 16 + "…" + "b" * 17
