"""Front matter of Markdown: the YAML between two lines "---" at the very top, which is no text of the document.

It becomes metadata only if it is trivial: one `key: value` per line, the value a plain or simply quoted word, number
or boolean. Anything else that YAML allows is not interpreted.
"""

import re

from rag_embedder.reading.plain_values import plain_value
from rag_embedder.types import Metadata

_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?:[ \t]+(.*))?")
_YAML_LINE = re.compile(r"""[ \t].*|#.*|-(?:[ \t].*)?|["']?[\w. -]+["']?[ \t]*:(?:[ \t].*)?|[\]}],?|""")
_QUOTED = re.compile(r"""(["'])((?:(?!\1)[^\\])*)\1""")
_SPECIAL = re.compile(r"""[\[\]{}&*!|>%@`"',?:=]|-(?![0-9])|.*:(?:[ \t]|$)|.*[ \t]#""")
_BOOLEANS = {"true": True, "false": False}


def split_front_matter(lines: list[str]) -> tuple[Metadata, list[str]]:
    """Metadata and the lines, those of the front matter emptied so that line numbers stay true."""
    end = _last_line(lines)
    if not end:
        return {}, lines
    return _metadata(lines[1:end]), [""] * (end + 1) + lines[end + 1 :]


def _last_line(lines: list[str]) -> int:
    """Position of the closing line; 0 if this is text that only begins with a rule."""
    if not lines or lines[0].rstrip() != "---":
        return 0
    end = next((place for place, line in enumerate(lines[1:], start=1) if line.rstrip() in ("---", "...")), 0)
    block = [line.rstrip() for line in lines[1:end]]
    first = next((line for line in block if line and not line.startswith("#")), "")
    is_yaml = not first[:1].isspace() and all(_YAML_LINE.fullmatch(line) for line in block)
    return end if is_yaml else 0


def _metadata(block: list[str]) -> Metadata:
    """The pairs of trivial front matter; {} if a single line is more than that. Keys without value are left out."""
    found: dict[str, str | int | float | bool] = {}
    for line in (line.rstrip() for line in block):
        if not line or line.startswith("#"):
            continue
        pair = _PAIR.fullmatch(line)
        if pair is None or pair[1] in found:
            return {}
        value = (pair[2] or "").strip()
        quoted = _QUOTED.fullmatch(value)
        if quoted is None and _SPECIAL.match(value):
            return {}
        if quoted:
            found[pair[1]] = quoted[2]
        elif value and value not in ("null", "~"):
            found[pair[1]] = _BOOLEANS.get(value, plain_value(value))
    return found
