"""What the files of the Python standard library document, read with `ast`: nothing is imported to find it."""

import ast
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rag_embedder.tool_schema.json_schema import Schema

# removed in Python 3.12 or 3.13, or about to be
_DEPRECATED = frozenset({
    "aifc", "asynchat", "asyncore", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp", "lib2to3",
    "mailcap", "msilib", "nntplib", "pipes", "smtpd", "sndhdr", "sunau", "telnetlib", "uu", "xdrlib",
})  # fmt: skip

# demonstrations, tests, implementation details of other modules, and `os.path` under the names of its platforms
_INTERNAL = frozenset({
    "antigravity", "ensurepip", "genericpath", "idlelib", "ntpath", "nturl2path", "opcode", "posixpath", "pydoc_data",
    "sre_compile", "sre_constants", "sre_parse", "stringprep", "test", "tests", "this", "turtledemo",
})  # fmt: skip

_SHALLOW = frozenset({"encodings", "tkinter", "xmlrpc", "wsgiref", "ctypes", "curses"})
"""Packages of which only `__init__` is read: their parts say little that a newcomer asks for."""

_JSON_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}


@dataclass(frozen=True, slots=True)
class Definition:
    """A documented class or function; `parameters` is a JSON Schema object, empty for a class."""

    name: str
    docstring: str
    parameters: Schema


@dataclass(frozen=True, slots=True)
class SourceModule:
    """One module; `path` is relative to the folder of the standard library."""

    name: str
    path: str
    docstring: str
    classes: tuple[Definition, ...]
    functions: tuple[Definition, ...]


@lru_cache(maxsize=1)
def source_modules() -> tuple[SourceModule, ...]:
    """Every public module of the standard library, by name. Files that cannot be parsed are left out."""
    root = Path(sysconfig.get_path("stdlib"))
    modules = (_read(root, path) for path in _public_files(root))
    return tuple(sorted((module for module in modules if module), key=lambda module: module.name))


def _public_files(root: Path) -> Iterator[Path]:
    for entry in sorted(root.iterdir()):
        if entry.suffix == ".py" and _is_public(entry.stem):
            yield entry
        elif _is_public(entry.name) and (entry / "__init__.py").is_file():
            found = entry.glob("__init__.py") if entry.name in _SHALLOW else entry.rglob("*.py")
            parts = ((path, path.relative_to(root).with_suffix("").parts) for path in sorted(found))
            yield from (path for path, names in parts if all(_is_public(name) or name == "__init__" for name in names))


def _is_public(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_") and name not in _DEPRECATED | _INTERNAL


def _read(root: Path, path: Path) -> SourceModule | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    relative = path.relative_to(root)
    parts = relative.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    classes = _documented(tree, ast.ClassDef)
    functions = _documented(tree, ast.FunctionDef, ast.AsyncFunctionDef)
    return SourceModule(name, relative.as_posix(), ast.get_docstring(tree) or "", classes, functions)


def _documented(tree: ast.Module, *kinds: type) -> tuple[Definition, ...]:
    """The public, documented definitions of these kinds; of several with one name, the last one counts."""
    found: dict[str, Definition] = {}
    for node in _module_level(tree.body):
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        docstring = ast.get_docstring(node)
        if docstring:
            parameters = {} if isinstance(node, ast.ClassDef) else _parameters(node.args)
            found[node.name] = Definition(node.name, docstring, parameters)
    return tuple(found.values())


def _module_level(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Definitions of the module, also those inside `if` and `try`."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from _module_level(node.body)
            yield from _module_level(node.orelse)


def _parameters(arguments: ast.arguments) -> Schema:
    """JSON Schema of a signature: types come from annotations or from default values, where there are any."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, [*defaults, *arguments.defaults], strict=True))
    required = [argument.arg for argument, default in pairs if default is None]
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        pairs.append((argument, default))
        required += [argument.arg] if default is None else []
    properties = {argument.arg: _parameter(argument, default) for argument, default in pairs}
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _parameter(argument: ast.arg, default: ast.expr | None) -> Schema:
    if isinstance(argument.annotation, ast.Name) and argument.annotation.id in _JSON_TYPES:
        return {"type": _JSON_TYPES[argument.annotation.id]}
    if isinstance(default, ast.Constant) and type(default.value).__name__ in _JSON_TYPES:
        return {"type": _JSON_TYPES[type(default.value).__name__], "default": default.value}
    return {}
