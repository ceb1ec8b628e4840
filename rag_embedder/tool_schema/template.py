"""The one text that is embedded for a tool.

    book_table: Reserve a table in a restaurant.
    parameters:
    - restaurant (string, required): Name of the restaurant.
    - guests (integer, optional, default 2): How many come.
    - seating (one of "inside", "terrace", optional)
    - contact (object {name: string, phone: string}, required)

The first line is `name: description`, white space folded; without description it is the name alone. One line follows
for each parameter, in the order of the schema. Types are those of JSON Schema; local `$ref`s are followed, `anyOf` and
`oneOf` are joined with "or", and null is left out because "optional" says it already.
"""

import json
from typing import Any

from rag_embedder.tool_schema.json_schema import Schema, resolved
from rag_embedder.types import Tool

_MAX_CHOICES = 20
_MAX_NESTING = 3


def tool_text(tool: Tool) -> str:
    """Fill the template of this module; the same tool always gives the same text."""
    description = _folded(tool.description)
    lines = [f"{tool.name}: {description}" if description else tool.name]
    root = dict(tool.parameters)
    properties, required = _members(root, root)
    if properties:
        lines.append("parameters:")
    lines += [_parameter_line(name, schema, name in required, root) for name, schema in properties.items()]
    return "\n".join(lines)


def _members(schema: Schema, root: Schema) -> tuple[dict[str, Any], set[str]]:
    """Properties and required names of an object, those of its `allOf` parts included."""
    schema = resolved(schema, root)
    properties: dict[str, Any] = {}
    required: set[str] = set()
    parts = schema.get("allOf")
    for part in [schema, *(resolved(part, root) for part in (parts if isinstance(parts, list) else []))]:
        own, names = part.get("properties"), part.get("required")
        properties |= own if isinstance(own, dict) else {}
        required |= {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
    return properties, required


def _parameter_line(name: str, schema: object, is_required: bool, root: Schema) -> str:
    described = resolved(schema, root)
    notes = [_kind(described, root, 0), "required" if is_required else "optional"]
    if described.get("default") is not None:
        notes.append(f"default {_json(described['default'])}")
    description = described.get("description")
    line = f"- {name} ({', '.join(note for note in notes if note)})"
    return f"{line}: {_folded(description)}" if isinstance(description, str) and description.strip() else line


def _kind(schema: object, root: Schema, depth: int) -> str:
    """A type in words; "" where the schema allows anything."""
    schema = resolved(schema, root)
    if "const" in schema:
        return _json(schema["const"])
    if isinstance(schema.get("enum"), list):
        return _choices(schema["enum"])
    for union in ("anyOf", "oneOf"):
        if isinstance(schema.get(union), list):
            return _joined([_kind(member, root, depth) for member in schema[union]])
    parts = schema.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and "type" not in schema:
        return _kind(parts[0], root, depth)
    kind = schema.get("type", "object" if "properties" in schema or parts else "")
    if isinstance(kind, list):
        return _joined([_kind({**schema, "type": one}, root, depth) for one in kind])
    if kind == "array":
        items = _kind(schema.get("items"), root, depth + 1) if depth < _MAX_NESTING else ""
        return f"array of {items}" if items else "array"
    return _object_kind(schema, root, depth) if kind == "object" else str(kind)


def _object_kind(schema: Schema, root: Schema, depth: int) -> str:
    properties, _ = _members(schema, root)
    if not properties or depth >= _MAX_NESTING:
        return "object"
    kinds = {name: _kind(member, root, depth + 1) for name, member in properties.items()}
    return f"object {{{', '.join(f'{name}: {kind}' if kind else name for name, kind in kinds.items())}}}"


def _choices(values: list[Any]) -> str:
    shown = [_json(value) for value in values if value is not None]
    more = ", ..." if len(shown) > _MAX_CHOICES else ""
    return f"one of {', '.join(shown[:_MAX_CHOICES])}{more}" if shown else "null"


def _joined(kinds: list[str]) -> str:
    return " or ".join(dict.fromkeys(kind for kind in kinds if kind and kind != "null"))


def _folded(text: str) -> str:
    return " ".join(text.split())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
