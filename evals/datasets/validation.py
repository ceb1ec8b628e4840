"""Reads the files of one data set line by line, collects every problem with its file and line, and hashes them."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.errors import DataSetError
from rag_embedder.errors import InvalidTextError
from rag_embedder.texts import check_text

_NUM_KEPT = 10


class Reading:
    """The reading of one data set: what is wrong with it so far, and the hash of what was read.

    Problems do not stop the reading, so that one error can list them all: call `raise_problems` at the end.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._first: list[str] = []
        self._num_problems = 0
        self._missing: set[Path] = set()
        self._hash = hashlib.sha256()

    @property
    def checksum(self) -> str:
        """SHA-256, in hex, over the contents read so far, unpacked, in the order they were read."""
        return self._hash.hexdigest()

    def problem(self, message: str, file: Path | None = None, line: int | None = None) -> None:
        """Note one problem; `line` counts from 1."""
        self._num_problems += 1
        if len(self._first) < _NUM_KEPT:
            place = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
            self._first.append(place + message)

    def raise_problems(self) -> None:
        """Nothing, if there was no problem.

        Raises:
            DataSetError: with all of them.
        """
        if self._num_problems:
            raise DataSetError(self._name, self._first, self._num_problems)

    def find(self, folder: Path, names: Sequence[str], *, what: str) -> Path:
        """The first of `names` that is a file in `folder`. If none is, that is a problem, and the path is no file's."""
        for name in names:
            if (folder / name).is_file():
                return folder / name
        if folder.is_dir():
            self.problem(f"no {what}: looked in {folder.absolute()} for {', '.join(names)}")
        elif folder not in self._missing:
            self._missing.add(folder)
            self.problem(f"there is no folder {folder.absolute()}")
        return folder / names[0]

    def lines(self, file: Path) -> Iterator[tuple[int, str]]:
        """The lines of a UTF-8 file, unpacked if its name ends in .gz, each with its number; blank ones left out."""
        number = 0
        self._hash.update(b"\0file\0")  # a line may not move from one file to the next unnoticed
        try:
            with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
                for number, raw in enumerate(stream, start=1):
                    self._hash.update(raw)
                    try:
                        text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                    except UnicodeDecodeError as error:
                        self.problem(f"byte {error.start + 1} of the line is not UTF-8", file, number)
                        continue
                    if text.strip():
                        yield number, text
        except (OSError, EOFError, zlib.error) as error:  # a gzip file that is damaged raises any of the three
            reason = getattr(error, "strerror", None) or str(error)
            self.problem(f"cannot be read further: {reason}", file, number + 1)

    def rows(self, file: Path) -> Iterator["Row"]:
        """The JSON objects of a file, one per line; other lines are noted as problems and left out."""
        for number, line in self.lines(file):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                place = f" from character {error.pos + 1} on" if isinstance(error, json.JSONDecodeError) else ""
                self.problem(f"not JSON{place}", file, number)
                continue
            if isinstance(value, dict):
                yield Row(value, self, file, number)
            else:
                self.problem(f"a JSON {type(value).__name__}; expected an object", file, number)


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object of a file. What is wrong with a field is noted as a problem, and an empty value returned."""

    value: dict[str, Any]
    reading: Reading
    file: Path
    line: int

    def problem(self, message: str) -> None:
        """Note that something is wrong with this row."""
        self.reading.problem(message, self.file, self.line)

    def text(self, field: str, default: str | None = None, *, may_be_blank: bool = True) -> str:
        """A string. `default` stands for a field that is missing or null; without one that is a problem."""
        value = self.value.get(field)
        if value is None:
            if default is None:
                there = ", ".join(repr(name[:40]) for name in list(self.value)[:8])
                self.problem(f"no field {field!r}; there are: {there or 'none'}")
            return default or ""
        try:
            text = check_text(value, field=repr(field))
        except InvalidTextError as error:
            self.problem(str(error))
            return ""
        if not may_be_blank and not text.strip():
            self.problem(f"{field!r} is blank")
        return text

    def id(self, field: str = "_id") -> str:
        """An id: a string that is not blank, or an integer, which becomes one."""
        value = self.value.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(field, may_be_blank=False)

    def new_id(self, known: Container[str]) -> str:
        """The row's own id, in "_id", which must not be among those known."""
        id_ = self.id()
        if id_ and id_ in known:
            self.problem(f"id {id_!r} was there before")
        return id_

    def items(self, field: str, default: list[Any] | None = None) -> list[Any]:
        """A list. `default` stands for a field that is missing or null; without one that is a problem."""
        value = self.value.get(field)
        if value is None and default is not None:
            return default
        if isinstance(value, list):
            return value
        self.problem(f"{field!r} is {'missing' if value is None else type(value).__name__}; expected a list")
        return []

    def texts(self, field: str, default: list[str] | None = None) -> list[str]:
        """A list of strings."""
        values = self.items(field, default)
        try:
            return [check_text(value, field=f"{field!r}[{position}]") for position, value in enumerate(values)]
        except InvalidTextError as error:
            self.problem(str(error))
            return []
