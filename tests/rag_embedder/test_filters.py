import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_embedder.errors import FilterError
from rag_embedder.filters import MAX_CLAUSES, compile_filter, matches

_CONNECTION = sqlite3.connect(":memory:", check_same_thread=False)


def select(filter, metadata):
    """What the compiled filter says about one row."""
    sql, values = compile_filter(filter)
    text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
    row = _CONNECTION.execute(f"SELECT 1 FROM (SELECT ? AS metadata) WHERE {sql}", [text, *values]).fetchone()
    return row is not None


PAPER = {"year": 2020, "lang": "no", "score": 0.5, "open": True, "none": None, "tags": ["a"], "a.b": "dotted"}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, True),
        ({"year": 2020}, True),
        ({"year": 2020.0}, True),
        ({"year": "2020"}, False),
        ({"open": True}, True),
        ({"open": 1}, False),
        ({"year": {"gte": 2020, "lt": 2024}}, True),
        ({"year": {"gt": 2020}}, False),
        ({"year": {"gt": "a"}}, False),
        ({"lang": {"gt": "na"}}, True),
        ({"lang": {"in": ["no", "sv"]}}, True),
        ({"lang": {"nin": ["no", "sv"]}}, False),
        ({"lang": {"in": []}}, False),
        ({"missing": None}, True),
        ({"none": None}, True),
        ({"missing": {"ne": 3}}, True),
        ({"missing": {"nin": [3, None]}}, False),
        ({"missing": {"lte": 3}}, False),
        ({"tags": "a"}, False),
        ({"tags": {"ne": "a"}}, True),
        ({"a.b": "dotted"}, True),
        ({"or": [{"year": 1}, {"lang": "no"}]}, True),
        ({"or": []}, False),
        ({"and": [{"year": 2020}, {"lang": "sv"}]}, False),
        ({"not": {"year": 2020}}, False),
        ({"year": 2020, "not": {"lang": "sv"}}, True),
    ],
)
def test_a_filter_selects_what_the_language_says(filter, expected):
    assert matches(filter, PAPER) is expected
    assert select(filter, PAPER) is expected


KEYS = st.sampled_from(["a", "b", "a.b", "å\\n", "'; --", "%", "$", "日本"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 0.1]),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=4),
)
CONDITIONS = st.one_of(
    SCALARS,
    st.dictionaries(st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), SCALARS, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["in", "nin"]), st.lists(SCALARS, max_size=3), min_size=1),
)
FILTERS = st.recursive(
    st.dictionaries(KEYS, CONDITIONS, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=4,
)
METADATA = st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.just({"x": 1})), max_size=4)


@settings(max_examples=300, deadline=None)
@given(FILTERS, METADATA)
def test_the_compiled_filter_agrees_with_the_reference(filter, metadata):
    assert select(filter, metadata) is matches(filter, metadata)


@settings(max_examples=150, deadline=None)
@given(SCALARS, st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]))
def test_a_value_compares_with_itself_alike_in_both(value, operator):
    filter, metadata = {"a": {operator: value}}, {"a": value}
    assert select(filter, metadata) is matches(filter, metadata)


@pytest.mark.parametrize(
    ("filter", "part"),
    [
        ({"year": {"$ne": 3}}, "unknown operator '$ne'"),
        ({"year": {"near": 3}}, "eq, ne, in, nin, gt, gte, lt, lte"),
        ({"year": {"eq": {"$ne": 3}}}, "filter.year: got dict"),
        ({"$or": {"a": 1}}, "unknown operator 'a'"),
        ({"year": [1]}, "filter.year: got list"),
        ({"year": {"in": 3}}, "filter.year.in: got int"),
        ({"year": {"in": [1, [2]]}}, "filter.year.in[1]: got list"),
        ({"year": {}}, "empty dict"),
        ({"or": {"a": 1}}, "filter.or: got dict"),
        ({"and": [3]}, "filter.and[0]: got int"),
        ({"": 1}, "1 to 256 characters"),
        ({'a"b': 1}, "double quotes"),
        ({"a\nb": 1}, "control characters"),
        ({"x" * 257: 1}, "1 to 256 characters"),
        ({3: 1}, "1 to 256 characters"),
        ({"a": float("nan")}, "filter.a: got float"),
        ({"a": 2**63}, "filter.a: got int"),
        ({"a": "\0"}, "filter.a: got str"),
        ("a = 1", "filter: got str"),
        ({"a": {"in": list(range(10_001))}}, "up to 10000 values"),
        ({str(i): i for i in range(MAX_CLAUSES + 1)}, "more than 100 conditions"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(filter, part):
    with pytest.raises(FilterError) as error:
        compile_filter(filter)
    assert part in str(error.value)


def test_the_depth_limit_is_exact():
    filter = {"a": 1}
    for _ in range(7):
        filter = {"not": filter}
    assert select(filter, {"a": 1}) is False
    with pytest.raises(FilterError, match="nested deeper than 8"):
        compile_filter({"not": filter})


def test_limits_are_reached_without_an_error_of_sqlite():
    values = list(range(10_000))
    filter = {str(i): {"nin": values} for i in range(MAX_CLAUSES)}
    assert select(filter, {"0": 10_000}) is True
    assert select(filter, {"99": 9_999}) is False


def test_no_value_becomes_part_of_the_sql():
    sql, values = compile_filter({"k'; DROP TABLE item; --": "v' OR '1'='1"})
    assert "DROP" not in sql
    assert "'1'='1" not in sql
    assert sql.count("?") == len(values)
