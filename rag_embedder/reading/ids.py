"""Ids of parts that have none of their own: the file's absolute path, "#", and the part's name."""

import hashlib
from pathlib import Path


def part_id(file: Path, name: str) -> str:
    """The id of a part called `name` ("" for the whole file), short enough for a store whatever the file is called.

    `file` is absolute, so folders of one name never share ids, and it does not matter where the program was started.
    """
    path = _shortened(file.as_posix(), limit=400, kept=380)
    return f"{path}#{_shortened(name, limit=100, kept=80)}" if name else path


def _shortened(text: str, *, limit: int, kept: int) -> str:
    """`text`, or a hash and its end, which says more than its beginning, if it is longer than `limit`."""
    if len(text) <= limit:
        return text
    # names of files that are not UTF-8 come as surrogates
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12] + "…" + text[-kept:]
