"""What a Python callable says about itself: name, description, and its signature as JSON Schema."""

import functools
import inspect
import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rag_embedder.errors import InputError
from rag_embedder.tool_schema.annotations import annotation_schema, record_schema, type_hints
from rag_embedder.tool_schema.docstring import parse_docstring
from rag_embedder.tool_schema.injected import is_injected
from rag_embedder.tool_schema.json_schema import Schema


@dataclass(frozen=True, slots=True)
class CallableDescription:
    """`parameters` is a JSON Schema object; without readable signature it has no properties."""

    name: str
    description: str
    parameters: Schema


def describe_callable(called: Callable[..., Any]) -> CallableDescription:
    """Read a function, bound method, documented class, callable instance with a name, or `functools.partial`.

    `*args` and `**kwargs` have no names and are left out, as are arguments that a `partial` has already filled.

    Raises:
        InputError: if it has no name (a lambda) or is a class without docstring.
    """
    inner, filled = _unwrapped_partial(called)
    name = _name_of(inner)
    documentation = parse_docstring(_docstring_of(inner, name))
    if isinstance(inner, type) and hasattr(inner, "model_json_schema"):
        parameters = record_schema(inner)
    else:
        parameters = _signature_schema(called, inner, filled, documentation.parameters)
    return CallableDescription(name, documentation.description, parameters)


def _unwrapped_partial(called: Callable[..., Any]) -> tuple[Callable[..., Any], set[str]]:
    """The function inside nested partials, and the names of the keyword arguments they fill."""
    filled: set[str] = set()
    while isinstance(called, functools.partial):
        filled |= called.keywords.keys()
        called = called.func
    return called, filled


def _name_of(called: Callable[..., Any]) -> str:
    name = getattr(called, "__name__", None) or getattr(called, "name", None)
    if not isinstance(name, str):
        raise InputError(
            f"a {type(called).__name__} was given as a tool but has no name; "
            "set its __name__, or pass Tool(name=..., description=...)."
        )
    if name == "<lambda>":
        raise InputError("a lambda was given as a tool; expected a name: define it with def, or pass Tool(name=...).")
    return name


def _docstring_of(called: Callable[..., Any], name: str) -> str:
    if isinstance(called, type):
        text = called.__dict__.get("__doc__")
        if not text:
            raise InputError(
                f"the class {name!r} was given as a tool but has no docstring; add one that says what it does."
            )
        return text
    if _is_routine(called):
        return inspect.getdoc(called) or ""
    described = getattr(called, "description", None)
    if isinstance(described, str) and described:
        return described
    return type(called).__dict__.get("__doc__") or inspect.getdoc(type(called).__call__) or ""


def _is_routine(called: Callable[..., Any]) -> bool:
    return inspect.isroutine(called) or isinstance(called, types.MethodWrapperType)


def _hints_of(called: Callable[..., Any]) -> dict[str, Any]:
    if isinstance(called, type):
        return type_hints(called.__init__)
    return type_hints(called if _is_routine(called) else type(called).__call__)


def _signature_schema(
    called: Callable[..., Any], inner: Callable[..., Any], filled: set[str], descriptions: dict[str, str]
) -> Schema:
    try:
        signature = inspect.signature(called)
    except (ValueError, TypeError):  # some C functions tell nothing
        return {"type": "object", "properties": {}}
    hints = _hints_of(inner)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in filled:
            continue
        annotation = hints.get(name, parameter.annotation)
        if is_injected(annotation):
            continue
        schema = annotation_schema(annotation)
        if name in descriptions and "description" not in schema:
            schema["description"] = descriptions[name]
        if parameter.default is parameter.empty:
            required.append(name)
        else:
            schema |= _default(parameter.default)
        properties[name] = schema
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _default(value: object) -> Schema:
    """The "default" keyword, where the value is one that JSON can write in a word."""
    if isinstance(value, Enum):
        value = value.value
    simple = value is None or isinstance(value, str | int | bool) or (isinstance(value, float) and math.isfinite(value))
    return {"default": value} if simple else {}
