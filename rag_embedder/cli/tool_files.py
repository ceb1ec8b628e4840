"""Files of function schemas."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rag_embedder.errors import InputError
from rag_embedder.tool_schema import as_tool
from rag_embedder.types import Tool


def read_tools(paths: Sequence[Path]) -> list[Tool]:
    """Tools of .json files (a list, an object with "tools", or one schema) and .jsonl files, one schema per line.

    Raises:
        InputError: if a file cannot be read or a schema is none, naming the file with the line or the place in it.
    """
    return [_tool(schema, place) for path in paths for schema, place in _schemas(path)]


def _schemas(path: Path) -> Iterator[tuple[Any, str]]:
    """Schemas, each with where it stands."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read tools from {path}: {error}. Expected JSON function schemas.") from error
    if path.suffix == ".jsonl":
        lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
        yield from ((_parsed(line, path, first_line=number), f"{path}:{number}") for number, line in lines)
        return
    content = _parsed(text, path)
    if isinstance(content, dict):
        content = content.get("tools", [content])
    if not isinstance(content, list):
        raise InputError(f"{path} holds a JSON {type(content).__name__}; expected a list of function schemas.")
    yield from ((schema, f"{path}, schema {place}") for place, schema in enumerate(content, start=1))


def _parsed(text: str, path: Path, first_line: int = 1) -> Any:  # noqa: ANN401  (any JSON value)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{first_line + error.lineno - 1}"
        raise InputError(
            f"cannot read tools from {place}: not JSON: {error.msg} at column {error.colno}. "
            "Expected JSON function schemas."
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"cannot read tools from {path}:{first_line}: {error}. Expected JSON schemas.") from error


def _tool(schema: object, place: str) -> Tool:
    try:
        return as_tool(schema)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
