"""LlamaIndex's `MetadataFilters` in our filter language."""

from collections.abc import Mapping
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from rag_embedder.errors import FilterError
from rag_embedder.filters import compile_filter

_OPERATORS: Mapping[FilterOperator, str] = {
    FilterOperator.EQ: "eq",
    FilterOperator.NE: "ne",
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
    FilterOperator.IN: "in",
    FilterOperator.NIN: "nin",
}
_GROUPS = ("and", "or", "not")


def filter_of(filters: MetadataFilters | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A filter dict of `rag_embedder.filters`, from LlamaIndex's filters or from such a dict; None stays None.

    Conditions "and", "or" and "not" (none of them holds) nest to any depth ours does. No filters at all match
    everything, as in LlamaIndex.

    Raises:
        FilterError: for an operator that has no counterpart (any, all, contains, text_match, text_match_insensitive,
            is_empty), naming it, or for what the filter language does not know.
    """
    if filters is None:
        return None
    if isinstance(filters, MetadataFilters):
        compiled = _group(filters, "filters")
    elif isinstance(filters, Mapping):
        compiled = dict(filters)
    else:
        raise FilterError(f"filters: got {type(filters).__name__}; expected MetadataFilters or a dict of conditions.")
    compile_filter(compiled)  # refused here, not in the middle of a chat
    return compiled


def _group(filters: MetadataFilters, path: str) -> dict[str, Any]:
    members = [
        _group(member, f"{path}[{position}]")
        if isinstance(member, MetadataFilters)
        else _condition(member, f"{path}[{position}]")
        for position, member in enumerate(filters.filters)
    ]
    condition = filters.condition or FilterCondition.AND
    if not members:
        return {}
    if condition is FilterCondition.NOT:
        return {"not": {"or": members}}
    return {condition.value: members}


def _condition(filter: MetadataFilter, path: str) -> dict[str, Any]:
    operator = _OPERATORS.get(filter.operator)
    if operator is None:
        raise FilterError(
            f"{path}: operator {filter.operator.value!r} has no counterpart here; expected one of: "
            f"{', '.join(known.value for known in _OPERATORS)}."
        )
    if filter.key in _GROUPS:
        raise FilterError(f"{path}: the key {filter.key!r} is a word of the filter language; expected another key.")
    return {filter.key: {operator: filter.value}}
