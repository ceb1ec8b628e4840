"""JSON Schema objects as tools carry them: checked and copied on the way in, references followed on the way out."""

import math
from collections.abc import Mapping
from typing import Any

from rag_embedder.errors import InputError

Schema = dict[str, Any]

MAX_DEPTH = 64

# keywords with an object for value: a mapping that has one of them is a schema already, not bare properties
_OBJECT_KEYWORDS = frozenset({"properties", "patternProperties", "$defs", "definitions"})


def checked_schema(schema: object, owner: str) -> Schema:
    """A deep copy of a parameter schema; {} for None. Bare properties ({"city": {"type": "string"}}) are wrapped.

    Raises:
        InputError: if it is not a JSON Schema of an object; the message names `owner` and the path.
    """
    if schema is None:
        return {}
    if not isinstance(schema, Mapping):
        raise _refusal(owner, "parameters", schema, "a JSON Schema object, such as {'type': 'object', ...}, or nothing")
    copied = _json_copy(schema, owner, "parameters", 0)
    if copied and not _OBJECT_KEYWORDS & copied.keys() and all(isinstance(value, dict) for value in copied.values()):
        copied = {"type": "object", "properties": copied}
    _check_object(copied, owner)
    return copied


def resolved(schema: object, root: Schema) -> Schema:
    """`schema` with its own local `$ref` followed inside `root`; {} if it leads nowhere or is no object."""
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**_pointed_at(reference, root), **siblings}
    return {}


def inlined(schema: Schema) -> Schema:
    """`schema` without `$defs`: every local reference replaced by its target, a recursive one by a plain object."""
    plain = _inline(schema, schema, ())
    return {key: value for key, value in plain.items() if key not in ("$defs", "definitions")}


def _inline(node: Any, root: Schema, open_references: tuple[str, ...]) -> Any:  # noqa: ANN401  (any JSON value)
    if isinstance(node, list):
        return [_inline(item, root, open_references) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        if reference in open_references:
            return {"type": "object"}
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return _inline({**_pointed_at(reference, root), **siblings}, root, (*open_references, reference))
    return {key: _inline(value, root, open_references) for key, value in node.items() if key != "$defs"}


def _pointed_at(reference: str, root: Schema) -> Schema:
    node: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, dict) and name else None
    return node if isinstance(node, dict) else {}


def _check_object(schema: Schema, owner: str) -> None:
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise _refusal(owner, "parameters.type", kind, "'object', because arguments are passed by name")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise _refusal(owner, "parameters.properties", properties, "an object of parameter schemas by name")
    for name, value in properties.items():
        if not isinstance(value, dict | bool):
            raise _refusal(owner, f"parameters.properties.{name}", value, "a JSON Schema object")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _refusal(owner, "parameters.required", required, "a list of parameter names")


def _json_copy(value: object, owner: str, path: str, depth: int) -> Any:  # noqa: ANN401  (any JSON value)
    if depth > MAX_DEPTH:
        raise InputError(f"tool {owner!r}: {path[:200]} is nested deeper than {MAX_DEPTH} levels; flatten its schema.")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise _refusal(owner, f"a key of {path}", key, "a str, as in every JSON object")
        return {key: _json_copy(item, owner, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_copy(item, owner, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise _refusal(owner, path, value, "a finite number: JSON has no NaN or infinity")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise _refusal(owner, path, value, "a JSON value")


def _refusal(owner: str, path: str, value: object, expected: str) -> InputError:
    shown = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    came = f"a {type(value).__name__}" + (f" ({shown[:80]})" if shown else "")
    return InputError(f"tool {owner!r}: {path} is {came}; expected {expected}.")
