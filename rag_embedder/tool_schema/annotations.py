"""A Python type annotation as JSON Schema, for tools that are plain functions."""

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import Annotated, Any, Literal, NotRequired, Required, TypeVar, Union, get_args, get_origin

from rag_embedder.tool_schema.json_schema import Schema, inlined

_SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    complex: {"type": "string"},
    bool: {"type": "boolean"},
    bytes: {"type": "string"},
    None: {"type": "null"},
    type(None): {"type": "null"},
}

# by "module.name", so that none of these modules has to be imported
_TEXT_FORMATS = {
    "datetime.datetime": "date-time",
    "datetime.date": "date",
    "datetime.time": "time",
    "datetime.timedelta": "duration",
    "uuid.UUID": "uuid",
    "decimal.Decimal": "decimal",
    "pathlib.Path": "path",
    "pathlib.PurePath": "path",
    "re.Pattern": "regex",
}

_ARRAYS = (list, tuple, set, frozenset, Sequence, Collection, Iterable, Iterator, Set)


def annotation_schema(annotation: Any, open_types: tuple[type, ...] = ()) -> Schema:  # noqa: ANN401  (any annotation)
    """JSON Schema of an annotation; {} (anything) for one that JSON Schema cannot say.

    `open_types` are the records being described around this one: a record inside itself becomes a plain object.
    """
    if annotation is None or (isinstance(annotation, type) and annotation in _SIMPLE):
        return dict(_SIMPLE[annotation])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        return _plain_schema(annotation, open_types)
    if origin is Annotated:
        return _annotated_schema(arguments, open_types)
    if origin is Literal:
        return _choice(list(arguments))
    if origin in (Union, types.UnionType):
        return {"anyOf": [annotation_schema(member, open_types) for member in arguments]}
    if origin in (Required, NotRequired, typing.Final, typing.ClassVar):
        return annotation_schema(arguments[0], open_types)
    if origin in _ARRAYS:
        return _array_schema(origin, arguments, open_types)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        values = annotation_schema(arguments[1], open_types) if len(arguments) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    return {}


def _plain_schema(annotation: Any, open_types: tuple[type, ...]) -> Schema:  # noqa: ANN401  (any annotation)
    """Of an annotation without `[...]`."""
    if hasattr(annotation, "__supertype__"):
        return annotation_schema(annotation.__supertype__, open_types)
    if isinstance(annotation, TypeVar):
        return annotation_schema(annotation.__bound__, open_types) if annotation.__bound__ else {}
    if not isinstance(annotation, type):
        return {}
    if issubclass(annotation, enum.Enum):
        return _choice([member.value for member in annotation])
    if text_format := _TEXT_FORMATS.get(f"{annotation.__module__}.{annotation.__qualname__}"):
        return {"type": "string", "format": text_format}
    if typing.is_typeddict(annotation) or dataclasses.is_dataclass(annotation) or _is_pydantic(annotation):
        return record_schema(annotation, open_types)
    if issubclass(annotation, Mapping):
        return {"type": "object"}
    if annotation in _ARRAYS:
        return {"type": "array"}
    simple = next((base for base in annotation.__mro__ if base in _SIMPLE), None)
    return dict(_SIMPLE[simple]) if simple else {}


def record_schema(record: type, open_types: tuple[type, ...] = ()) -> Schema:
    """JSON Schema object of a TypedDict, dataclass or pydantic model."""
    if record in open_types:
        return {"type": "object"}
    if _is_pydantic(record):
        try:
            return inlined(typing.cast("Any", record).model_json_schema())
        except (RuntimeError, TypeError, ValueError):  # pydantic: a field's type has no JSON Schema
            return {"type": "object"}
    open_types = (*open_types, record)
    hints = type_hints(record)
    properties = {name: annotation_schema(hint, open_types) for name, hint in hints.items()}
    if typing.is_typeddict(record):
        required = [name for name in hints if name in record.__required_keys__]
    else:
        fields = [field for field in dataclasses.fields(typing.cast("Any", record)) if field.init]
        properties = {field.name: properties.get(field.name, {}) for field in fields}
        required = [field.name for field in fields if _has_no_default(field)]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def type_hints(described: Any) -> dict[str, Any]:  # noqa: ANN401  (function, class or method)
    """Resolved annotations; those written as text that cannot be resolved are left as they are."""
    try:
        return typing.get_type_hints(described, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return dict(getattr(described, "__annotations__", {}))


def _is_pydantic(annotation: type) -> bool:
    return callable(getattr(annotation, "model_json_schema", None))


def _has_no_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _annotated_schema(arguments: tuple[Any, ...], open_types: tuple[type, ...]) -> Schema:
    """Of `Annotated[...]`: a str, or a pydantic field's `description`, describes the parameter."""
    schema = annotation_schema(arguments[0], open_types)
    for extra in arguments[1:]:
        text = extra if isinstance(extra, str) else getattr(extra, "description", None)
        if isinstance(text, str) and text:
            return schema | {"description": inspect.cleandoc(text)}
    return schema


def _array_schema(origin: Any, arguments: tuple[Any, ...], open_types: tuple[type, ...]) -> Schema:  # noqa: ANN401
    members = [member for member in arguments if member is not Ellipsis]
    described = [annotation_schema(member, open_types) for member in members]
    if not described or any(schema != described[0] for schema in described):
        return {"type": "array"}
    schema = {"type": "array", "items": described[0]}
    fixed = origin is tuple and Ellipsis not in arguments
    return schema | {"minItems": len(members), "maxItems": len(members)} if fixed else schema


def _choice(values: list[Any]) -> Schema:
    values = [value.value if isinstance(value, enum.Enum) else value for value in values]
    if not all(value is None or isinstance(value, str | int | float | bool) for value in values):
        return {}
    kinds = {_SIMPLE[type(value)]["type"] for value in values if type(value) in _SIMPLE}
    return {"type": kinds.pop(), "enum": values} if len(kinds) == 1 else {"enum": values}
