"""Files and folders become documents; what cannot be read is reported and never stops the rest.

Ids are stable: a row's own id, or else the file's absolute path ("/data/docs/guide.md"), with "#" and the part: a
heading, a definition, or the line of a row ("/data/faq.jsonl#L12"), and "~2" where a file has that part twice. The
first document with an id is kept; later ones are reported. Files are read in the order of the paths given, and sorted
by name inside a folder. `metadata` has the "source" file, absolute and with links followed, and where it fits the
"line" or "row".
"""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rag_embedder.errors import InputError
from rag_embedder.reading.ids import part_id
from rag_embedder.reading.parts import Part, Reader, open_text_bytes
from rag_embedder.reading.prose import read_html, read_markdown, read_plain_text, read_python
from rag_embedder.reading.rows import read_comma_table, read_json, read_json_lines, read_tab_table
from rag_embedder.store.json_values import check_id, encode
from rag_embedder.types import Document

READERS: dict[str, Reader] = {
    ".csv": read_comma_table,
    ".htm": read_html,
    ".html": read_html,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".md": read_markdown,
    ".py": read_python,
    ".tsv": read_tab_table,
    ".txt": read_plain_text,
}
"""What reads a file, by its suffix; each may be followed by ".gz"."""

_PASSED_OVER = frozenset({"__pycache__", "node_modules"})

Cause = Literal["fault", "kind", "repeat"]
"""Why something was left out: it cannot be read, nothing reads files of its kind, or its place is taken."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out: a whole file if `line` is None and `reason` names no row. `path` is as given."""

    path: str
    line: int | None
    reason: str
    cause: Cause = "fault"

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.reason}"


OnSkip = Callable[[Skipped], None]
Refuse = Callable[[Document], str]
"""The reason not to take a document, or ""; a refused one leaves its id to a later document."""


def read_documents(
    paths: Iterable[str | Path],
    *,
    on_skip: OnSkip = lambda skipped: None,
    refuse: Refuse = lambda document: "",
) -> Iterator[Document]:
    """Documents of files and folders, one at a time; hidden files and folders are passed over.

    Raises:
        InputError: if a path does not exist. This is checked before anything is read.
    """
    roots = [Path(path) for path in paths]
    for root in roots:
        if not root.exists():
            raise InputError(f"{str(root)!r} does not exist; expected a file or a folder.")
    return _documents(roots, on_skip, refuse)


def resolved(path: str | Path) -> Path:
    """The absolute path with links followed; unlike `Path.resolve`, it takes links that lead to themselves."""
    return Path(os.path.realpath(path))


def file_suffix(path: str | Path) -> str:
    """The suffix that decides how a file is read: lower case, without ".gz"."""
    return Path(Path(path).name.lower().removesuffix(".gz")).suffix


def _documents(roots: list[Path], on_skip: OnSkip, refuse: Refuse) -> Iterator[Document]:
    first_seen: dict[str, Path] = {}
    read: set[Path] = set()
    for path in (path for root in roots for path in _files(root, on_skip)):
        source = resolved(path)
        if source in read:
            on_skip(Skipped(str(path), None, "is the same file as one that was read before", "repeat"))
            continue
        read.add(source)
        for part in _parts(path, on_skip):
            document = _document(source, part)
            if reason := _unstorable(document):
                on_skip(Skipped(str(path), part.line, reason))
            elif reason := _seen_before(document, first_seen) or refuse(document):
                on_skip(Skipped(str(path), part.line, reason, "repeat"))
            else:
                first_seen[str(document.id)] = path
                yield document


def _files(root: Path, on_skip: OnSkip) -> Iterator[Path]:
    """The files under `root`, or `root` itself; sorted, without hidden ones."""
    if not root.is_dir():
        yield root
        return

    def unreadable(error: OSError) -> None:
        on_skip(Skipped(str(error.filename), None, f"cannot be read: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _PASSED_OVER)
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _parts(path: Path, on_skip: OnSkip) -> Iterator[Part]:
    """The parts of one file, their names made different; every failure ends in one report."""
    suffix = file_suffix(path)
    if not path.is_file():  # a pipe would be waited for without end
        on_skip(Skipped(str(path), None, "is not a regular file, or a link that leads nowhere"))
        return
    if suffix not in READERS:
        kind = f"the kind {suffix!r} is not known" if suffix else "a file without suffix"
        reason = f"{kind}; expected one of {', '.join(READERS)}, also with .gz"
        on_skip(Skipped(str(path), None, reason, "kind"))
        return
    names: Counter[str] = Counter()
    reports = 0

    def report(line: int | None, reason: str) -> None:
        nonlocal reports
        reports += 1
        on_skip(Skipped(str(path), line, reason))

    try:
        with open_text_bytes(path) as stream:
            for part in READERS[suffix](stream, report):
                names[part.name] += 1
                times = names[part.name]
                # one heading or definition may occur several times in a file
                yield part if times == 1 or part.id else replace(part, name=f"{part.name}~{times}")
    except InputError as error:
        report(None, str(error))
    except (EOFError, zlib.error):
        report(None, "the gzip data is damaged or cut off")
    except OSError as error:
        report(None, f"cannot be read: {error.strerror or error}")
    if not names and not reports:
        report(None, "holds no text")


def _document(source: Path, part: Part) -> Document:
    place = {"source": str(source)} | ({} if part.line is None else {"line": part.line})
    return Document(part.text, part.id or part_id(source, part.name), part.title, {**part.metadata, **place})


def _unstorable(document: Document) -> str:
    """Why no store would take a document, or "": said here, it costs one row and not the batch that it is in."""
    for field, text in (("text", document.text), ("title", document.title), ("id", str(document.id))):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return f"the {field} holds half of a surrogate pair; expected whole characters"
    try:
        encode(document.metadata, "metadata", check_id(document.id, "the id"))
    except InputError as error:
        return str(error).removesuffix(" Nothing was changed.").removesuffix(" Nothing was added.")
    return ""


def _seen_before(document: Document, first_seen: dict[str, Path]) -> str:
    if document.id in first_seen:
        return f"the id {document.id!r} was already read from {first_seen[document.id]}; expected one document per id"
    return ""
