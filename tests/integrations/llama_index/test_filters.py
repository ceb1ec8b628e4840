"""LlamaIndex's metadata filters in our filter language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from integrations.llama_index.filters import filter_of
from integrations.llama_index.retriever import RagRetriever
from rag_embedder.errors import FilterError
from rag_embedder.filters import matches
from tests.retriever_cases import WordEncoder

ITEMS = {
    "old": {"year": 1999, "lang": "en"},
    "new": {"year": 2024, "lang": "de"},
    "mid": {"year": 2010, "lang": "en", "draft": 1},
    "bare": {},
}


def one(key, operator, value):
    return MetadataFilter(key=key, operator=operator, value=value)


@pytest.fixture
def retriever():
    nodes = [TextNode(id_=id_, text=f"a text about {id_}", metadata=metadata) for id_, metadata in ITEMS.items()]
    return RagRetriever.from_nodes(nodes, WordEncoder()).retriever


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        (one("lang", FilterOperator.EQ, "en"), {"old", "mid"}),
        (one("lang", FilterOperator.NE, "en"), {"new", "bare"}),
        (one("year", FilterOperator.GT, 2010), {"new"}),
        (one("year", FilterOperator.GTE, 2010), {"new", "mid"}),
        (one("year", FilterOperator.LT, 2010), {"old"}),
        (one("year", FilterOperator.LTE, 2010), {"old", "mid"}),
        (one("lang", FilterOperator.IN, ["de", "fr"]), {"new"}),
        (one("lang", FilterOperator.NIN, ["de", "fr"]), {"old", "mid", "bare"}),
    ],
)
def test_every_operator_selects_what_it_says(retriever, filter, found):
    adapter = RagRetriever(retriever, k=10, filters=MetadataFilters(filters=[filter]))
    assert {node.node.node_id for node in adapter.retrieve("text")} == found


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (FilterCondition.AND, {"mid"}),
        (FilterCondition.OR, {"old", "mid", "new"}),
        (FilterCondition.NOT, {"bare"}),
        (None, {"mid"}),
    ],
)
def test_every_condition_joins_as_it_says(retriever, condition, found):
    filters = MetadataFilters(
        filters=[one("lang", FilterOperator.EQ, "en"), one("year", FilterOperator.GTE, 2010)], condition=condition
    )
    adapter = RagRetriever(retriever, k=10, filters=filters)
    assert {node.node.node_id for node in adapter.retrieve("text")} == found


def test_groups_nest(retriever):
    german = MetadataFilters(filters=[one("lang", FilterOperator.EQ, "de")])
    old = MetadataFilters(filters=[one("year", FilterOperator.LT, 2000)])
    either = MetadataFilters(filters=[german, old], condition=FilterCondition.OR)
    neither = MetadataFilters(filters=[german, old], condition=FilterCondition.NOT)
    for filters, found in ((either, {"new", "old"}), (neither, {"mid", "bare"})):
        adapter = RagRetriever(retriever, k=10, filters=filters)
        assert {node.node.node_id for node in adapter.retrieve("text")} == found


def test_no_filters_and_empty_filters_match_everything(retriever):
    assert filter_of(None) is None
    for condition in FilterCondition:
        filters = MetadataFilters(filters=[], condition=condition)
        assert len(RagRetriever(retriever, k=10, filters=filters).retrieve("text")) == len(ITEMS)


def test_a_dict_of_ours_is_taken_as_it_is_and_copied():
    given_filter = {"year": {"gte": 2020}}
    assert filter_of(given_filter) == given_filter
    assert filter_of(given_filter) is not given_filter


@pytest.mark.parametrize("operator", ["any", "all", "contains", "text_match", "text_match_insensitive", "is_empty"])
def test_other_operators_are_refused_by_name(operator):
    filters = MetadataFilters(filters=[one("a", FilterOperator.EQ, 1), one("tags", FilterOperator(operator), ["x"])])
    with pytest.raises(FilterError, match=rf"filters\[1\]: operator '{operator}' has no counterpart.*expected one of"):
        filter_of(filters)


@pytest.mark.parametrize(
    "filters",
    [
        MetadataFilters(filters=[one("and", FilterOperator.EQ, "x")]),
        MetadataFilters(filters=[one("a", FilterOperator.IN, "not a list")]),
        MetadataFilters(filters=[one("a", FilterOperator.EQ, ["a", "list"])]),
        {"year": {"like": 3}},
        ["a list"],
        "text",
    ],
)
def test_what_cannot_be_understood_is_refused_before_anything_is_searched(retriever, filters):
    with pytest.raises(FilterError):
        RagRetriever(retriever, filters=filters)


VALUES = st.sampled_from([1, 2, 3]) | st.sampled_from(["a", "b"])
CONDITIONS = st.builds(
    lambda key, operator, value: one(key, operator, [value] if operator.value in ("in", "nin") else value),
    st.sampled_from(["x", "y"]),
    st.sampled_from([FilterOperator.EQ, FilterOperator.NE, FilterOperator.IN, FilterOperator.NIN]),
    VALUES,
)


@given(
    st.lists(CONDITIONS, max_size=4),
    st.sampled_from(list(FilterCondition)),
    st.dictionaries(st.sampled_from(["x", "y"]), VALUES),
)
def test_they_select_what_llama_indexs_own_store_selects(conditions, condition, metadata):
    filters = MetadataFilters(filters=conditions, condition=condition)
    theirs = build_metadata_filter_fn(lambda _: metadata, filters)("any")
    compiled = filter_of(filters)
    assert compiled is not None
    assert matches(compiled, metadata) is theirs
