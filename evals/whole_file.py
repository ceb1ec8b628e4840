"""Files that are there whole or not at all, also if the run is killed, and when two runs write the same one."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when all of it is written; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> Path:
    """Write UTF-8 with plain newlines; half of a surrogate pair, which JSON can hold, becomes a question mark."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8", errors="replace"))
    return path


def write_json(content: Any, path: Path) -> Path:  # noqa: ANN401  (any JSON value)
    """Write a JSON value."""
    return write_text(json.dumps(content), path)
