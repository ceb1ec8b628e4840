"""What a file breaks into: parts with a name, and bytes that are known to be readable text."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from rag_embedder.errors import InputError
from rag_embedder.types import Metadata

MAX_LINE_BYTES = 64 * 2**20
"""Longest line of a file that is read line by line; a longer one is skipped."""

_HEAD_BYTES = 4096
_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_UTF8_MARK = b"\xef\xbb\xbf"

Report = Callable[[int | None, str], None]
"""Told the line (from 1) and the reason of everything that is left out."""


@dataclass(frozen=True, slots=True)
class Part:
    """One document of a file. `id` is a row's own id; `name` tells the parts of one file apart, "" for the whole."""

    text: str
    name: str = ""
    id: str | None = None
    title: str = ""
    line: int | None = None
    metadata: Metadata = field(default_factory=dict)


Reader = Callable[[BinaryIO, Report], Iterator[Part]]
"""Reads one format from bytes that are already decompressed."""


def open_text_bytes(path: Path) -> BinaryIO:
    """The file's bytes, decompressed if they start like gzip, whatever the file is called.

    Raises:
        InputError: if they are UTF-16, UTF-32 or binary.
        OSError: if the file cannot be opened, or its gzip data is damaged.
    """
    stream = cast("BinaryIO", path.open("rb"))
    try:
        if stream.read(2) == b"\x1f\x8b":
            stream.close()
            stream = cast("BinaryIO", gzip.open(path, "rb"))  # noqa: SIM115  (the caller closes it)
        stream.seek(0)
        _check_text(stream.read(_HEAD_BYTES))
        stream.seek(0)
    except BaseException:
        stream.close()
        raise
    return stream


def _check_text(head: bytes) -> None:
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            raise InputError(f"is {name} text; expected UTF-8: save it as UTF-8")
    # ASCII written as UTF-16 has a zero in every second byte
    if len(head) >= 4 and (not any(head[1::2]) or not any(head[0::2])):
        raise InputError("looks like UTF-16 text; expected UTF-8: save it as UTF-8")
    if b"\0" in head:
        raise InputError("is a binary file; expected UTF-8 text")


def whole_text(stream: BinaryIO) -> str:
    r"""All of a stream as text, its lines ended by "\n".

    Raises:
        InputError: if a byte is not UTF-8; the message holds its offset.
    """
    content = stream.read()
    try:
        text = content.removeprefix(_UTF8_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text_lines(stream: BinaryIO, report: Report) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines with their ends, one at a time; a line that cannot be read is reported."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            report(number, f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB; expected one document per line")
            continue
        try:
            yield number, (line.removeprefix(_UTF8_MARK) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            report(number, f"the line is not UTF-8 at byte {error.start}; save it as UTF-8")
