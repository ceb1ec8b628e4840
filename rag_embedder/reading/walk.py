"""Files and folders become documents; what cannot be read is reported and never stops the rest.

Ids are stable: a row's own id, or else the file's path, starting with the name of the folder it was found under
("docs/guide.md"), with "#" and the part: a heading, a definition, or the line of a row ("data/faq.jsonl#L12"), and "~2"
where a file has that part twice. The first document with an id is kept; later ones are reported. Files are read in the
order of the paths given, and sorted by name inside a folder. `metadata` has the "source" file and, where it fits, the
"line" or "row".
"""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rag_embedder.errors import InputError
from rag_embedder.reading.parts import Part, Reader, open_text_bytes
from rag_embedder.reading.prose import read_html, read_markdown, read_plain_text, read_python
from rag_embedder.reading.rows import read_comma_table, read_json, read_json_lines, read_tab_table
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


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out: a whole file if `line` is None and `reason` names no row."""

    path: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    name: str  # what ids start with


def read_documents(
    paths: Iterable[str | Path], *, on_skip: Callable[[Skipped], None] = lambda skipped: None
) -> Iterator[Document]:
    """Documents of files and folders, one at a time; hidden files and folders are passed over.

    Raises:
        InputError: if a path does not exist. This is checked before anything is read.
    """
    roots = [Path(path) for path in paths]
    for root in roots:
        if not root.exists():
            raise InputError(f"{str(root)!r} does not exist; expected a file or a folder.")
    return _documents(roots, on_skip)


def _documents(roots: list[Path], on_skip: Callable[[Skipped], None]) -> Iterator[Document]:
    first_seen: dict[str, str] = {}
    read: set[Path] = set()
    for file in (file for root in roots for file in _files(root, on_skip)):
        source = str(file.path)
        resolved = file.path.resolve()
        if resolved in read:
            on_skip(Skipped(source, None, "is the same file as one that was read before"))
            continue
        read.add(resolved)
        for part in _parts(file, on_skip):
            document = _document(file, part)
            if reason := _reason_against(document, first_seen):
                on_skip(Skipped(source, part.line, reason))
                continue
            first_seen[str(document.id)] = source
            yield document


def _files(root: Path, on_skip: Callable[[Skipped], None]) -> Iterator[_File]:
    """The files under `root`, or `root` itself; sorted, without hidden ones."""
    if not root.is_dir():
        yield _File(root, "/".join(root.resolve().parts[-2:]).lstrip("/"))
        return
    base = root.resolve().name

    def unreadable(error: OSError) -> None:
        on_skip(Skipped(str(error.filename), None, f"cannot be read: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _PASSED_OVER)
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(folder, name)
            yield _File(path, f"{base}/{path.relative_to(root).as_posix()}".lstrip("/"))


def _parts(file: _File, on_skip: Callable[[Skipped], None]) -> Iterator[Part]:
    """The parts of one file, their names made different; every failure ends in one report."""
    source = str(file.path)
    suffix = Path(file.path.name.lower().removesuffix(".gz")).suffix
    if not file.path.is_file():  # a pipe would be waited for without end
        on_skip(Skipped(source, None, "is not a regular file, or a link that leads nowhere"))
        return
    if suffix not in READERS:
        kind = f"the kind {suffix!r} is not known" if suffix else "a file without suffix"
        on_skip(Skipped(source, None, f"{kind}; expected one of {', '.join(READERS)}, also with .gz"))
        return
    names: Counter[str] = Counter()
    reports = 0

    def report(line: int | None, reason: str) -> None:
        nonlocal reports
        reports += 1
        on_skip(Skipped(source, line, reason))

    try:
        with open_text_bytes(file.path) as stream:
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


def _document(file: _File, part: Part) -> Document:
    place = {"source": str(file.path)} | ({} if part.line is None else {"line": part.line})
    made_id = f"{file.name}#{part.name}" if part.name else file.name
    return Document(part.text, part.id or made_id, part.title, {**part.metadata, **place})


def _reason_against(document: Document, first_seen: dict[str, str]) -> str:
    """Why a document cannot be kept, or ""."""
    for field, text in (("text", document.text), ("title", document.title), ("id", str(document.id))):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return f"the {field} holds half of a surrogate pair; expected whole characters"
    if document.id in first_seen:
        return f"the id {document.id!r} was already read from {first_seen[document.id]}; expected one document per id"
    return ""
