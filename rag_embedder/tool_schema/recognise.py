"""Tools of any framework become `Tool`, without importing the framework: its objects are known by their shape.

Accepted, tried in this order:

- `Tool`
- dicts: OpenAI function schemas, nested ({"type": "function", "function": {...}}) or flat; Anthropic ("input_schema");
  MCP ("inputSchema"); plain {"name", "description", "parameters"}
- LangChain tools (any subclass of `BaseTool` in `langchain_core.tools`)
- LlamaIndex tools (`.metadata` with a name and `get_parameters_dict()`)
- MCP tool objects (`.name`, `.description`, `.inputSchema`)
- Python callables: functions, methods, documented classes, callable instances with a name, `functools.partial`

What is embedded for a tool is `tool_text`, described in `rag_embedder.tool_schema.template`.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rag_embedder.errors import InputError
from rag_embedder.tool_schema.callables import describe_callable
from rag_embedder.tool_schema.json_schema import Schema, checked_schema
from rag_embedder.types import Tool

MAX_NAME_LENGTH = 256


def as_tool(obj: object) -> Tool:
    """`obj` as a `Tool` whose `original` is `obj` itself; a `Tool` that already has an `original` keeps it.

    Raises:
        InputError: if `obj` is of no accepted kind, has no usable name, or its parameters are no JSON Schema object.
    """
    if isinstance(obj, Tool):
        _checked_name(obj.name, obj)
        parameters = checked_schema(obj.parameters, obj.name)
        return replace(obj, parameters=parameters, original=obj if obj.original is None else obj.original)
    if isinstance(obj, Mapping):
        return _from_mapping(obj)
    if _is_langchain(type(obj)):
        found: Any = obj
        return _tool(obj, found.name, found.description, _langchain_parameters(found))
    metadata = getattr(obj, "metadata", None)
    if callable(getattr(metadata, "get_parameters_dict", None)) and not isinstance(obj, type):
        found = metadata
        return _tool(obj, found.name, found.description, found.get_parameters_dict())
    if hasattr(obj, "inputSchema") and hasattr(obj, "name") and not isinstance(obj, type):
        found = obj
        return _tool(obj, found.name, getattr(found, "description", None), found.inputSchema)
    if isinstance(obj, type) and _is_langchain(obj):
        raise InputError(f"the class {obj.__name__} was given as a tool; expected a tool: pass an instance of it.")
    if callable(obj):
        described = describe_callable(obj)
        return _tool(obj, described.name, described.description, described.parameters)
    raise InputError(
        f"a {type(obj).__name__} cannot be used as a tool; expected a Tool, a Python callable, a function schema as "
        "dict (OpenAI, Anthropic, MCP, or name/description/parameters), or a LangChain, LlamaIndex or MCP tool object."
    )


def tool_schema(tool: Tool) -> Schema:
    """The tool as OpenAI function schema: what a language model would be sent for it."""
    parameters = checked_schema(tool.parameters, tool.name) or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _tool(original: object, name: object, description: object, parameters: object) -> Tool:
    named = _checked_name(name, original)
    if description is not None and not isinstance(description, str):
        raise InputError(f"tool {named!r}: description is a {type(description).__name__}; expected a str or nothing.")
    return Tool(named, (description or "").strip(), checked_schema(parameters, named), original=original)


def _checked_name(name: object, original: object) -> str:
    kind = type(original).__name__
    if not isinstance(name, str):
        raise InputError(f"a {kind} given as a tool has a {type(name).__name__} for its name; expected a str.")
    if not name.strip() or len(name) > MAX_NAME_LENGTH:
        raise InputError(
            f"a {kind} given as a tool has a name of {len(name)} characters; "
            f"expected 1 to {MAX_NAME_LENGTH}, not only white space."
        )
    # Cc: control characters, Cs: halves of a surrogate pair
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise InputError(f"tool name {name!r} has control characters; expected a printable name: remove them.")
    return name


def _from_mapping(schema: Mapping[Any, Any]) -> Tool:
    function = schema.get("function") if schema.get("type") == "function" else None
    inner = function if isinstance(function, Mapping) else schema
    if "name" not in inner:
        keys = ", ".join(repr(key)[:40] for key in list(schema)[:10])
        raise InputError(f"a dict given as a tool has no 'name' (its keys: {keys}); expected a function schema.")
    keys = ("input_schema", "inputSchema", "parameters")
    parameters = next((inner[key] for key in keys if inner.get(key) is not None), None)
    return _tool(schema, inner["name"], inner.get("description"), parameters)


def _is_langchain(kind: type, name: str = "BaseTool") -> bool:
    return any(base.__name__ == name and base.__module__.startswith("langchain_core.tools") for base in kind.__mro__)


def _langchain_parameters(tool: Any) -> object:  # noqa: ANN401  (a LangChain BaseTool)
    """What LangChain sends to the model: arguments injected at run time are already left out of it.

    None where pydantic cannot write an argument's type as JSON Schema: such a tool can still be found by what it does.
    """
    # the old one-string `Tool` shows the signature of its own machinery as its call schema
    old_style = _is_langchain(type(tool), "Tool") and tool.args_schema is None
    for attribute in () if old_style else ("tool_call_schema", "args_schema"):
        schema = getattr(tool, attribute, None)
        if isinstance(schema, Mapping):
            return _without_heading(schema)
        describe = getattr(schema, "model_json_schema", None) or getattr(schema, "schema", None)
        try:
            described = describe() if callable(describe) else None
        except (RuntimeError, TypeError, ValueError):
            return None
        if isinstance(described, Mapping):
            return _without_heading(described)
    arguments = getattr(tool, "args", None)
    return {"type": "object", "properties": arguments} if arguments else None


def _without_heading(schema: Mapping[Any, Any]) -> Schema:
    """Without the title and description that only repeat the tool's own, as LangChain drops them too."""
    return {key: value for key, value in schema.items() if key not in ("title", "description")}
