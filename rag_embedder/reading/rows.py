"""Files of rows, one document each: JSON lines, JSON and tables. Field names are those of BEIR.

A row needs a text under "text", "contents", "content" or "body". "_id" or "id" and "title" are optional; everything
else, and what lies in an object called "metadata", becomes metadata. A row that cannot be used is reported, and the
rest of the file is read.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from rag_embedder.errors import InputError
from rag_embedder.reading.parts import Part, Report, text_lines, whole_text
from rag_embedder.reading.plain_values import plain_value
from rag_embedder.types import Metadata

TEXT_FIELDS = ("text", "contents", "content", "body")
_ID_FIELDS = ("_id", "id")
_MAX_DIGITS = 1000


@dataclass(frozen=True, slots=True)
class _Unusable:
    """Stands in parsed JSON where a value may not be used."""

    reason: str


def read_json_lines(stream: BinaryIO, report: Report) -> Iterator[Part]:
    """One row per line, read one at a time; blank lines are passed over."""
    for line, text in text_lines(stream, report):
        if text.strip():
            yield from _reported(text.rstrip("\r\n"), line, report)


def read_json(stream: BinaryIO, report: Report) -> Iterator[Part]:
    """A list of rows, one row, rows by id ({"d1": {"text": ...}}), or JSON lines under the name .json.

    Raises:
        InputError: if it is none of these.
    """
    text = whole_text(stream)
    try:
        value = _parsed(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise InputError(f"line {error.lineno} is not JSON: {error.msg}") from None
        stream.seek(0)
        yield from read_json_lines(stream, report)
        return
    for place, (name, row) in enumerate(_rows_of(value), start=1):
        try:
            part = row_part(row if name is None or not isinstance(row, dict) else {"_id": name, **row})
        except InputError as error:
            report(None, f"row {place}: {error}")
            continue
        yield Part(part.text, str(place), part.id, part.title, None, {**part.metadata, "row": place})


def read_comma_table(stream: BinaryIO, report: Report) -> Iterator[Part]:
    """Comma-separated values under a header line; quoted fields may hold commas and line ends.

    Cells of other columns than id, title and text become numbers where they are plain ones.

    Raises:
        InputError: if the header names no text column.
    """
    return _read_table(stream, report, ",", csv.QUOTE_MINIMAL)


def read_tab_table(stream: BinaryIO, report: Report) -> Iterator[Part]:
    """Tab-separated values under a header line; a quote is a character like any other, as IANA's definition has it.

    Raises:
        InputError: if the header names no text column.
    """
    return _read_table(stream, report, "\t", csv.QUOTE_NONE)


def row_part(row: object, line: int | None = None) -> Part:
    """A row as a part.

    Raises:
        InputError: if the row is no object, has no text, or a field of the wrong type.
    """
    if unusable := _first_unusable(row):
        raise InputError(unusable.reason)
    if not isinstance(row, dict):
        raise InputError(f"the row is a {type(row).__name__}; expected an object with a text")
    fields: dict[str, Any] = dict(row)
    text_field = next((name for name in TEXT_FIELDS if fields.get(name) is not None), None)
    if text_field is None:
        raise InputError(f"the row has no text; expected one of the fields {', '.join(TEXT_FIELDS)}")
    text = _text_field(fields, text_field)
    if not text.strip():
        raise InputError(f"{text_field!r} is empty; expected a text")
    title = _text_field(fields, "title")
    id_field = next((name for name in _ID_FIELDS if fields.get(name) not in (None, "")), "_id")
    own_id = fields.pop(id_field, None)
    if isinstance(own_id, bool) or not isinstance(own_id, str | int | None):
        raise InputError(f"{id_field!r} is a {type(own_id).__name__}; expected a str or an int")
    nested = fields.pop("metadata", None)
    if nested is not None and not isinstance(nested, dict):
        raise InputError(f"'metadata' is a {type(nested).__name__}; expected an object")
    row_id = None if own_id in (None, "") else str(own_id)
    return Part(text, f"L{line}", row_id, title, line, {**(nested or {}), **fields})


def _text_field(fields: dict[str, Any], name: str) -> str:
    value = fields.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name!r} is a {type(value).__name__}; expected a str")
    return value or ""


def _reported(text: str, line: int, report: Report) -> Iterator[Part]:
    try:
        yield row_part(_parsed(text), line)
    except json.JSONDecodeError as error:
        report(line, f"not JSON: {error.msg} at column {error.colno}")
    except InputError as error:
        report(line, str(error))


def _parsed(text: str) -> Any:  # noqa: ANN401  (any JSON value)
    """JSON in which every value that must not be read has become `_Unusable`, so that only its row is lost.

    Raises:
        json.JSONDecodeError: if the text is not JSON.
        InputError: if it is nested too deeply to be read.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite, parse_int=_short
        )
    except RecursionError:
        raise InputError("the JSON is nested too deeply") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Unusable:
    record = dict(pairs)
    if len(record) == len(pairs):
        return record
    twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
    return _Unusable(f"the key {twice[:40]!r} occurs twice in one object; expected once")


def _no_constant(name: str) -> _Unusable:
    return _Unusable(f"{name} is not a JSON number; expected a finite one")


def _finite(digits: str) -> float | _Unusable:
    number = float(digits)
    if math.isfinite(number):
        return number
    return _Unusable(f"the number {digits[:40]} is too large; expected a finite one")


def _short(digits: str) -> int | _Unusable:
    # far longer numbers take seconds, and Python refuses them with an error that would end the whole file
    return int(digits) if len(digits) <= _MAX_DIGITS else _Unusable(f"a number has {len(digits)} digits")


def _first_unusable(value: object) -> _Unusable | None:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Unusable):
            return value
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return None


def _rows_of(value: object) -> Iterator[tuple[str | None, object]]:
    """Rows with the id they are listed under, if any."""
    if isinstance(value, list):
        yield from ((None, row) for row in value)
    elif isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        yield from value.items()
    elif isinstance(value, dict):
        yield None, value
    else:
        raise InputError(f"holds a {type(value).__name__}; expected a list of rows, one row, or rows by id")


def _read_table(stream: BinaryIO, report: Report, delimiter: str, quoting: Any) -> Iterator[Part]:  # noqa: ANN401
    rows = csv.reader(_lines_kept(stream, report), delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] = []
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            report(line, f"not a table row: {error}")
            continue
        if not any(cell.strip() for cell in row):
            continue
        if not header:
            header = _checked_header(row, delimiter)
            continue
        try:
            part = row_part(_record(header, row), line)
        except InputError as error:
            report(line, str(error))
            continue
        yield replace(part, metadata=_with_numbers(part.metadata))


def _with_numbers(metadata: Metadata) -> Metadata:
    """Cells that are plain numbers as numbers; ids and texts that were not used stay text."""
    kept = {*TEXT_FIELDS, *_ID_FIELDS}
    return {name: value if name in kept else plain_value(value) for name, value in metadata.items()}


def _lines_kept(stream: BinaryIO, report: Report) -> Iterator[str]:
    """Lines, an unreadable one as a blank line, so that line numbers stay true."""
    expected = 1
    for number, line in text_lines(stream, report):
        yield from ["\n"] * (number - expected)
        yield line
        expected = number + 1


def _checked_header(row: list[str], delimiter: str) -> list[str]:
    header = [name.strip() for name in row]
    if not set(header) & set(TEXT_FIELDS):
        problem = f"the header has no text column; expected one of {', '.join(TEXT_FIELDS)}"
        if delimiter == "," and any(";" in name for name in header):
            problem += ", separated by ',': this file seems to be separated by ';', save it with commas"
        raise InputError(problem)
    if len(set(header)) < len(header):
        raise InputError("the header names a column twice; expected different names")
    return header


def _record(header: list[str], row: list[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise InputError(f"the row has {len(row)} fields; expected {len(header)}, as in the header")
    return dict(zip(header, row, strict=True))
