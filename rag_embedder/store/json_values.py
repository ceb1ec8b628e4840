"""What may be stored: ids without control characters, and mappings of JSON values that come back as they went in."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from rag_embedder.errors import InputError, InvalidTextError

_MAX_ID = 512
_MAX_DEPTH = 64
_INT64 = 2**63
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_id(value: object, field: str) -> str:
    """An id as it is, if it can be stored.

    Raises:
        InputError: if it is not a string of 1 to 512 characters without control characters.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_ID:
        raise InputError(
            f"{field}: got {_preview(value)}; expected a string of 1 to {_MAX_ID} characters. Nothing was changed."
        )
    _check_characters(value, field)
    return value


def check_scope(value: object) -> str:
    """A scope as it is: an id, or the empty string where nothing is isolated."""
    return "" if isinstance(value, str) and value == "" else check_id(value, "scope")


def _check_characters(value: str, field: str) -> None:
    found = _FORBIDDEN.search(value)
    if found is None:
        return
    error = InvalidTextError if "\ud800" <= found[0] <= "\udfff" else InputError
    raise error(
        f"{field}: got U+{ord(found[0]):04X} at character {found.start()}; expected no control characters and "
        "no half surrogate pairs. Nothing was changed."
    )


def _preview(value: object) -> str:
    if isinstance(value, str):
        return f"a string of {len(value)} characters"
    return f"{type(value).__name__}"


def encode(value: Mapping[str, Any], field: str, entry_id: str) -> str:
    """A mapping as compact JSON text, keys in the given order; `field` is "payload" or "metadata".

    Raises:
        InputError: naming the path and the entry if something in it is not a JSON value.
    """
    if not isinstance(value, Mapping):
        raise _refused(field, entry_id, value, "a mapping")
    return json.dumps(_plain(value, field, entry_id, 0), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decode(text: str) -> dict[str, Any]:
    """The mapping that `encode` wrote."""
    return json.loads(text)


def _plain(value: object, path: str, entry_id: str, depth: int) -> object:
    if depth > _MAX_DEPTH:
        raise _refused(path, entry_id, value, f"at most {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {
            _key(key, path, entry_id): _plain(inner, f"{path}.{key}", entry_id, depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{path}[{place}]", entry_id, depth + 1) for place, inner in enumerate(value)]
    return _scalar(value, path, entry_id)


def _scalar(value: object, path: str, entry_id: str) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        _check_text(value, path, entry_id)
        return str(value)
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise _refused(path, entry_id, value, "an integer of at most 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(path, entry_id, value, "a finite number")
        return float(value)
    raise _refused(path, entry_id, value, "a JSON value (str, int, float, bool, None, list, dict)")


def _key(key: object, path: str, entry_id: str) -> str:
    if not isinstance(key, str):
        raise _refused(path, entry_id, key, "string keys")
    _check_text(key, path, entry_id)
    return str(key)


def _check_text(text: str, path: str, entry_id: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as fault:
        raise InvalidTextError(
            f"{path} of entry {entry_id!r} holds half of a surrogate pair at character {fault.start}; expected "
            "Unicode text. Nothing was added. Decode the source with errors='replace'."
        ) from None
    # SQLite's JSON functions end a string at NUL, which would make metadata filters lie. Payloads are not filtered.
    if "\0" in text and path.startswith("metadata"):
        raise InputError(
            f"{path} of entry {entry_id!r} holds a NUL character; expected text without it. Nothing was added."
        )


def _refused(path: str, entry_id: str, value: object, expected: str) -> InputError:
    got = repr(value) if isinstance(value, float) else type(value).__name__
    return InputError(f"{path} of entry {entry_id!r}: got {got}; expected {expected}. Nothing was added.")
