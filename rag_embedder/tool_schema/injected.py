"""Parameters that a framework fills in when a tool is run, and that no model is told of."""

import types
from typing import Annotated, Any, Union, get_args, get_origin

_MARKS = ("InjectedToolArg", "_DirectlyInjectedToolArg")
"""LangChain: `InjectedState`, `InjectedStore`, `InjectedToolCallId` and `ToolRuntime` come from one of these."""

_CLASSES = (("langchain_core.", "RunnableConfig"), ("llama_index.", "Context"), ("workflows.", "Context"))
"""(beginning of the module, name): known by name, so that no framework is imported."""


def is_injected(annotation: Any) -> bool:  # noqa: ANN401  (any annotation)
    """Whether an annotation says that the framework gives the argument: LangChain's and LlamaIndex's ways."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        return is_injected(inner) or any(_is_marked(each if isinstance(each, type) else type(each)) for each in extras)
    if origin in (Union, types.UnionType):
        return any(is_injected(member) for member in get_args(annotation))
    kind = annotation if isinstance(annotation, type) else origin
    return isinstance(kind, type) and _is_marked(kind)


def _is_marked(kind: type) -> bool:
    if any(base.__name__ in _MARKS for base in kind.__mro__):
        return True
    return any(kind.__name__ == name and kind.__module__.startswith(module) for module, name in _CLASSES)
