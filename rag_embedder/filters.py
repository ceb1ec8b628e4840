"""The metadata filter language: plain dicts, compiled to SQL with parameters only.

    {"year": 2020}                                  equal
    {"year": {"gte": 2020, "lt": 2024}}             operators: eq ne in nin gt gte lt lte
    {"and": [f, ...]}  {"or": [f, ...]}  {"not": f} several keys in one dict mean "and"

A key names a top-level value of the metadata, dots included. Numbers compare with numbers and strings with strings;
anything else is no match. `True` is not 1. A missing key is like None for eq, ne, in and nin, and never matches
an order. `ne` and `nin` are the exact opposite of `eq` and `in`.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rag_embedder.errors import FilterError

MAX_CLAUSES = 100
MAX_DEPTH = 8
MAX_VALUES = 10_000

_ORDERS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": (">", operator.gt),
    "gte": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "lte": ("<=", operator.le),
}
OPERATORS = ("eq", "ne", "in", "nin", *_ORDERS)
_GROUPS = ("and", "or", "not")
_KEY = re.compile(r'[^\x00-\x1f\x7f-\x9f"\ud800-\udfff]{1,256}')
_BAD_TEXT = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Clause:
    """One comparison: `operator` is one of OPERATORS, `values` is a tuple for in and nin, a 1-tuple otherwise."""

    key: str
    operator: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """`kind` is "and", "or" or "not" (one member). An empty "and" is true, an empty "or" is false."""

    kind: str
    members: tuple["_Clause | _Group", ...]


def compile_filter(filter: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """SQL over a column `metadata` holding JSON text, and the values of its parameters.

    Raises:
        FilterError: with the path of the first part that cannot be understood.
    """
    parameters: list[Any] = []
    return _to_sql(_parse(filter), parameters), parameters


def matches(filter: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """The slow reference of what a compiled filter selects."""
    return _holds(_parse(filter), metadata)


# --- reading a filter


class _Reader:
    """Counts the clauses of one filter while it is read."""

    def __init__(self) -> None:
        self.clauses = 0

    def group(self, filter: object, path: str, depth: int) -> _Group:
        if not isinstance(filter, Mapping):
            raise FilterError(f"{path}: got {type(filter).__name__}; expected a dict of conditions.")
        if depth > MAX_DEPTH:
            raise FilterError(f"{path}: nested deeper than {MAX_DEPTH} levels; write the filter flatter.")
        members: list[_Clause | _Group] = []
        for key, value in filter.items():
            if key in _GROUPS:
                members.append(self.subgroup(key, value, f"{path}.{key}", depth + 1))
            else:
                members.extend(self.conditions(key, value, path))
        return _Group("and", tuple(members))

    def subgroup(self, kind: str, value: object, path: str, depth: int) -> _Group:
        if kind == "not":
            return _Group("not", (self.group(value, path, depth),))
        if not isinstance(value, list | tuple):
            raise FilterError(f"{path}: got {type(value).__name__}; expected a list of filters.")
        return _Group(kind, tuple(self.group(inner, f"{path}[{i}]", depth) for i, inner in enumerate(value)))

    def conditions(self, key: object, value: object, path: str) -> list[_Clause]:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise FilterError(
                f"{path}: got a key that cannot be used; expected a string of 1 to 256 characters without control "
                "characters and double quotes."
            )
        inner = f"{path}.{key}"
        if not isinstance(value, Mapping):
            return [self.clause(key, "eq", value, inner)]
        if not value:
            raise FilterError(f"{inner}: got an empty dict; expected an operator: {', '.join(OPERATORS)}.")
        return [self.clause(key, name, operand, inner) for name, operand in value.items()]

    def clause(self, key: str, name: object, operand: object, path: str) -> _Clause:
        self.clauses += 1
        if self.clauses > MAX_CLAUSES:
            raise FilterError(f"{path}: more than {MAX_CLAUSES} conditions; split the request.")
        if not isinstance(name, str) or name not in OPERATORS:
            raise FilterError(f"{path}: unknown operator {name!r}; expected one of: {', '.join(OPERATORS)}.")
        if name not in ("in", "nin"):
            return _Clause(key, name, (_scalar(operand, path),))
        if not isinstance(operand, list | tuple) or len(operand) > MAX_VALUES:
            raise FilterError(
                f"{path}.{name}: got {type(operand).__name__}; expected a list of up to {MAX_VALUES} values."
            )
        return _Clause(key, name, tuple(_scalar(value, f"{path}.{name}[{i}]") for i, value in enumerate(operand)))


def _parse(filter: Mapping[str, Any]) -> _Group:
    return _Reader().group(filter, "filter", 1)


def _scalar(value: object, path: str) -> Any:  # noqa: ANN401  (any JSON scalar)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and not _BAD_TEXT.search(value):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise FilterError(
        f"{path}: got {type(value).__name__}; expected a text without NUL, an integer of at most 64 bits, "
        "a finite number, True, False or None."
    )


# --- to SQL


def _to_sql(node: _Clause | _Group, parameters: list[Any]) -> str:
    if isinstance(node, _Clause):
        return _clause_sql(node, parameters)
    if node.kind == "not":
        return f"NOT {_to_sql(node.members[0], parameters)}"
    if not node.members:
        return "1" if node.kind == "and" else "0"
    joined = f" {node.kind.upper()} ".join(_to_sql(member, parameters) for member in node.members)
    return f"({joined})"


def _clause_sql(clause: _Clause, parameters: list[Any]) -> str:
    path = '$."' + json.dumps(clause.key, ensure_ascii=False)[1:-1] + '"'
    if clause.operator in _ORDERS:
        value, symbol = clause.values[0], _ORDERS[clause.operator][0]
        if value is None or isinstance(value, bool):
            return "0"
        types = "('text')" if isinstance(value, str) else "('integer', 'real')"
        # The operand is read by SQLite's own JSON number parser, as the stored value is: equal texts, equal numbers.
        parameters.extend([path, path, json.dumps(value)])
        return (
            f"(ifnull(json_type(metadata, ?), '') IN {types}"
            f" AND json_extract(metadata, ?) {symbol} json_extract(?, '$'))"
        )
    inside = _member_sql(clause.values, path, parameters)
    return f"NOT {inside}" if clause.operator in ("ne", "nin") else inside


def _member_sql(values: tuple[Any, ...], path: str, parameters: list[Any]) -> str:
    """SQL that is 1 or 0, never NULL: is the value at `path` one of `values`?"""
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    words = {
        "null" if value is None else json.dumps(value) for value in values if value is None or isinstance(value, bool)
    }
    parts = []
    if words:
        parameters.extend([path, *sorted(words)])
        parts.append(f"ifnull(json_type(metadata, ?), 'null') IN ({', '.join('?' * len(words))})")
    for given, types in ((texts, "('text')"), (numbers, "('integer', 'real')")):
        if given:
            parameters.extend([path, path, json.dumps(given)])
            parts.append(
                f"(ifnull(json_type(metadata, ?), '') IN {types}"
                " AND json_extract(metadata, ?) IN (SELECT value FROM json_each(?)))"
            )
    return f"({' OR '.join(parts)})" if parts else "0"


# --- the reference


def _holds(node: _Clause | _Group, metadata: Mapping[str, Any]) -> bool:
    if isinstance(node, _Clause):
        return _clause_holds(node, metadata.get(node.key))
    if node.kind == "not":
        return not _holds(node.members[0], metadata)
    return (all if node.kind == "and" else any)(_holds(member, metadata) for member in node.members)


def _clause_holds(clause: _Clause, stored: object) -> bool:
    if clause.operator in _ORDERS:
        value = clause.values[0]
        comparable = _family(stored) == _family(value) and _family(value) in ("text", "number")
        return comparable and _ORDERS[clause.operator][1](stored, value)
    inside = any(_family(stored) == _family(value) and stored == value for value in clause.values)
    return inside is (clause.operator in ("eq", "in"))


def _family(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "word"
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, int | float) else "other"
