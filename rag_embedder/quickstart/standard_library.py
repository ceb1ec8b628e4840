"""The quickstart's knowledge and tools: the documentation of the Python that runs it, so nothing is downloaded."""

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType

from rag_embedder.quickstart.source_modules import Definition, SourceModule, source_modules
from rag_embedder.tool_schema.callables import describe_callable
from rag_embedder.types import Document, Tool

MAX_WORDS = 150
"""Longest document; longer docstrings are split between paragraphs."""

_DESCRIPTION_WORDS = 60
_MIN_WORDS = 3

# Written in C, or made of objects that only exist at run time; all safe to import: no window, no file, no network.
_IMPORTED = (
    "array", "binascii", "builtins", "cmath", "collections", "datetime", "decimal", "functools", "gc", "hashlib",
    "heapq", "bisect", "itertools", "math", "operator", "os", "os.path", "random", "select", "signal", "socket",
    "statistics", "struct", "sys", "threading", "time", "unicodedata", "zlib",
)  # fmt: skip


def module_documents() -> list[Document]:
    """Docstrings of modules and their public classes, at most `MAX_WORDS` words each, ordered by module.

    An id is the dotted name, with `#2`, `#3`, ... for the later parts of a docstring that was split.
    """
    documents: dict[str, Document] = {}
    for module in source_modules():
        for document in _of_source(module):
            documents.setdefault(str(document.id), document)
    for module in _imported_modules():
        for document in _of_imported(module):
            documents.setdefault(str(document.id), document)
    return sorted(documents.values(), key=lambda document: (document.metadata["module"], _part_order(document)))


def function_tools() -> list[Tool]:
    """Documented public functions of the standard library as tools named `module.function`, ordered by name."""
    tools: dict[str, Tool] = {}
    for module in source_modules():
        for function in module.functions:
            name = f"{module.name}.{function.name}"
            tools[name] = Tool(
                name, _first_paragraphs(function.docstring), function.parameters, {"module": module.name}
            )
    for module in _imported_modules():
        for function in _imported_functions(module):
            tools.setdefault(f"{_name(module)}.{function.name}", _imported_tool(_name(module), function))
    return [tools[name] for name in sorted(tools) if _says_something(tools[name].description)]


def _says_something(description: str) -> bool:
    return len(description.split()) >= _MIN_WORDS and not description.startswith(">>>")


def _imported_tool(module: str, function: Definition) -> Tool:
    description = _first_paragraphs(function.docstring)
    return Tool(f"{module}.{function.name}", description, function.parameters, {"module": module})


def _imported_modules() -> Iterator[ModuleType]:
    return (importlib.import_module(name) for name in _IMPORTED)


def _name(module: ModuleType) -> str:
    return "os.path" if module is importlib.import_module("os.path") else module.__name__


def _of_source(module: SourceModule) -> Iterator[Document]:
    yield from _split(module.name, module.docstring, {"module": module.name, "kind": "module", "source": module.path})
    metadata = {"module": module.name, "kind": "class", "source": module.path}
    for defined in module.classes:
        yield from _split(f"{module.name}.{defined.name}", defined.docstring, metadata)


def _of_imported(module: ModuleType) -> Iterator[Document]:
    name = _name(module)
    yield from _split(name, inspect.getdoc(module) or "", {"module": name, "kind": "module", "source": name})
    for attribute, value in _public_attributes(module):
        if isinstance(value, type) and not issubclass(value, BaseException) and value.__dict__.get("__doc__"):
            docstring = inspect.cleandoc(str(value.__dict__["__doc__"]))
            yield from _split(f"{name}.{attribute}", docstring, {"module": name, "kind": "class", "source": name})


def _imported_functions(module: ModuleType) -> Iterator[Definition]:
    """Functions of a module; what `itertools` offers are types, but everyone calls them as functions."""
    for attribute, value in _public_attributes(module):
        is_function = inspect.isroutine(value) or (module.__name__ == "itertools" and isinstance(value, type))
        if is_function and callable(value) and inspect.getdoc(value):
            described = describe_callable(value)
            yield Definition(attribute, inspect.getdoc(value) or "", described.parameters)


def _public_attributes(module: ModuleType) -> Iterator[tuple[str, object]]:
    """What belongs to the module, by name: its `__all__`, or else all public names that are no modules."""
    names = getattr(module, "__all__", None) or vars(module).keys()
    for name in sorted(set(names)):
        value = getattr(module, name, None)
        if not name.startswith("_") and not isinstance(value, ModuleType):
            yield name, value


def _split(name: str, docstring: str, metadata: dict[str, str]) -> Iterator[Document]:
    for part, text in enumerate(_parts(docstring), start=1):
        if len(text.split()) >= _MIN_WORDS:
            yield Document(text, name if part == 1 else f"{name}#{part}", name, metadata)


def _parts(docstring: str) -> Iterator[str]:
    """Paragraphs gathered up to `MAX_WORDS` words; a longer paragraph is cut between lines, a longer line in words.

    Diagrams and tables are left out: they say nothing to an encoder of sentences.
    """
    gathered: list[str] = []
    count = 0
    for piece in _pieces(docstring):
        words = len(piece.split())
        if gathered and count + words > MAX_WORDS:
            yield "\n".join(gathered).strip()
            gathered, count = [], 0
        gathered.append(piece)
        count += words
    if gathered:
        yield "\n".join(gathered).strip()


def _pieces(docstring: str) -> Iterator[str]:
    for paragraph in docstring.split("\n\n"):
        if not _is_prose(paragraph):
            continue
        if len(paragraph.split()) <= MAX_WORDS:
            yield f"{paragraph.rstrip()}\n"
            continue
        for line in paragraph.splitlines():
            words = line.split()
            short = len(words) <= MAX_WORDS
            cuts = range(0, len(words), MAX_WORDS)
            yield from [line.rstrip()] if short else [" ".join(words[cut : cut + MAX_WORDS]) for cut in cuts]


def _is_prose(paragraph: str) -> bool:
    """Whether at least half of what is seen are letters, as in no diagram or table; underlines do not count."""
    lines = paragraph.rstrip().splitlines()
    if len(lines) > 1 and len(set(lines[-1].strip())) == 1:
        lines.pop()
    seen = "".join("".join(lines).split())
    return 2 * sum(character.isalpha() for character in seen) >= len(seen)


def _first_paragraphs(docstring: str) -> str:
    """The first paragraph, and as many more as fit in `_DESCRIPTION_WORDS` words; white space folded."""
    chosen: list[str] = []
    for paragraph in docstring.split("\n\n"):
        words = paragraph.split()
        if chosen and len(chosen) + len(words) > _DESCRIPTION_WORDS:
            break
        chosen += words[:_DESCRIPTION_WORDS]
    return " ".join(chosen)


def _part_order(document: Document) -> tuple[str, int]:
    name, _, part = str(document.id).partition("#")
    return name, int(part or 1)
