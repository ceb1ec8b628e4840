"""A docstring's description and its parameters' descriptions, in the Google, NumPy and Sphinx styles."""

import re
from dataclasses import dataclass
from inspect import cleandoc

_PARAMETER_HEADINGS = frozenset({"args", "arguments", "parameters", "params", "keyword args", "keyword arguments"})
_HEADINGS = _PARAMETER_HEADINGS | {
    "returns", "return", "yields", "raises", "example", "examples", "note", "notes", "attributes",
    "see also", "references", "warnings", "warns", "todo", "other parameters",
}  # fmt: skip

_SPHINX_FIELD = re.compile(r"^:(\w+)\s*([^:]*):\s*(.*)$")
_GOOGLE_ITEM = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_ITEM = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")


@dataclass(frozen=True, slots=True)
class Docstring:
    """`description` is the text before the first section; `parameters` maps a name to its description."""

    description: str
    parameters: dict[str, str]


def parse_docstring(text: str | None) -> Docstring:
    """Read a docstring as it stands in the source; unknown styles come back as description only."""
    lines = cleandoc(text or "").splitlines()
    start = next((i for i in range(len(lines)) if _heading(lines, i) or _is_field(lines[i])), len(lines))
    parameters: dict[str, str] = {}
    for i in range(start, len(lines)):
        if _heading(lines, i) in _PARAMETER_HEADINGS:
            underlined = i + 1 < len(lines) and _is_rule(lines[i + 1])
            body = _section_body(lines, i + 2 if underlined else i + 1)
            parameters |= _numpy_items(body) if underlined else _google_items(body)
    return Docstring("\n".join(lines[:start]).strip(), parameters | _sphinx_items(lines[start:]))


def _is_rule(line: str) -> bool:
    return re.fullmatch(r"-{3,}\s*", line) is not None


def _is_field(line: str) -> bool:
    match = _SPHINX_FIELD.match(line)
    return match is not None and match[1] in {
        "param", "parameter", "arg", "type", "return", "returns", "rtype", "raise", "raises",
    }  # fmt: skip


def _heading(lines: list[str], i: int) -> str:
    """The section that line `i` opens, in lower case, or ""."""
    line = lines[i].rstrip()
    if line.endswith(":") and line[:-1].lower() in _HEADINGS:
        return line[:-1].lower()
    if line.lower() in _HEADINGS and i + 1 < len(lines) and _is_rule(lines[i + 1]):
        return line.lower()
    return ""


def _section_body(lines: list[str], start: int) -> list[str]:
    end = next((i for i in range(start, len(lines)) if _heading(lines, i) or _is_field(lines[i])), len(lines))
    return lines[start:end]


def _google_items(body: list[str]) -> dict[str, str]:
    """Items `name (type): description`, all at the indent of the first; deeper lines go on with the last item."""
    items: dict[str, str] = {}
    indent, name = -1, ""
    for line in body:
        text = line.strip()
        if not text:
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            break
        indent = depth if indent < 0 else indent
        match = _GOOGLE_ITEM.match(text) if depth == indent else None
        if match:
            name = match[1]
            items[name] = match[2]
        elif name:
            items[name] = f"{items[name]} {text}".strip()
    return items


def _numpy_items(body: list[str]) -> dict[str, str]:
    """Items `name : type` at no indent, their description indented below; `a, b : type` describes both."""
    items: dict[str, str] = {}
    names: list[str] = []
    for line in body:
        match = _NUMPY_ITEM.match(line)
        if match:
            names = [name.strip() for name in match[1].split(",")]
            items |= dict.fromkeys(names, "")
        elif line.strip():
            items |= {name: f"{items[name]} {line.strip()}".strip() for name in names}
    return items


def _sphinx_items(lines: list[str]) -> dict[str, str]:
    """Fields `:param [type] name: description`; indented lines below go on with the field."""
    items: dict[str, str] = {}
    name = ""
    for line in lines:
        match = _SPHINX_FIELD.match(line)
        if match:
            words = match[2].split()
            name = words[-1].lstrip("*") if match[1] in {"param", "parameter", "arg"} and words else ""
            if name:
                items[name] = match[3]
        elif name and line.startswith((" ", "\t")):
            items[name] = f"{items[name]} {line.strip()}".strip()
        else:
            name = ""
    return items
