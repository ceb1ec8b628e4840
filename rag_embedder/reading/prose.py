"""Files that are one text: plain text, Markdown by headings, HTML by what is visible, Python by definitions."""

import ast
import re
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import BinaryIO

from rag_embedder.reading.front_matter import split_front_matter
from rag_embedder.reading.parts import Part, Report, text_lines, whole_text

MAX_PART_CHARACTERS = 1_000_000
"""Longest part of a plain text file; a longer file is cut between lines, so that it never lies in memory whole."""

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")

_UNSEEN = frozenset({"script", "style", "noscript", "template", "svg"})
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section",
    "table", "td", "th", "tr", "ul",
})  # fmt: skip


def read_plain_text(stream: BinaryIO, report: Report) -> Iterator[Part]:
    """The whole file as one part, or several of at most `MAX_PART_CHARACTERS` (a single longer line is kept whole)."""
    lines: list[str] = []
    first, size, count = 1, 0, 0
    for number, line in text_lines(stream, report):
        if lines and size + len(line) > MAX_PART_CHARACTERS:
            count += 1
            yield from _text_part(lines, count, first)
            lines, first, size = [], number, 0
        lines.append(line.rstrip("\r\n"))
        size += len(line)
    yield from _text_part(lines, count + 1, first)


def read_markdown(stream: BinaryIO, report: Report) -> Iterator[Part]:
    """One part per heading; its title is the path of headings. A heading above others with no text is only path.

    Front matter is no text; if it is trivial, it is metadata of every part.
    """
    metadata, lines = split_front_matter(whole_text(stream).split("\n"))
    sections = _sections(lines)
    for i, (path, line, body) in enumerate(sections):
        is_parent = i + 1 < len(sections) and sections[i + 1][0][: len(path)] == path
        text = "\n".join(body).strip() or ("" if is_parent or not path else path[-1])
        if text:
            title = " > ".join(path)
            yield Part(text, title, title=title, line=line, metadata=metadata)


def read_html(stream: BinaryIO, report: Report) -> Iterator[Part]:
    """The visible text as one part, under the page's title."""
    page = _Page()
    page.feed(whole_text(stream))
    page.close()
    lines = (" ".join(line.split()) for line in "".join(page.visible).split("\n"))
    text = "\n".join(line for line in lines if line)
    if text:
        yield Part(text, title=" ".join("".join(page.title).split()))


def read_python(stream: BinaryIO, report: Report) -> Iterator[Part]:
    """One part per class and function of the module, and one for the rest; the whole text if it cannot be parsed."""
    text = whole_text(stream)
    definitions = _definitions(text)
    lines = text.split("\n")
    spans = [(_first_line(node), node.end_lineno or node.lineno) for node in definitions]
    inside = {number for first, last in spans for number in range(first, last + 1)}
    rest = "\n".join(line for number, line in enumerate(lines, start=1) if number not in inside).strip()
    if rest:
        yield Part(rest)
    for node, (first, last) in zip(definitions, spans, strict=True):
        yield Part("\n".join(lines[first - 1 : last]), node.name, title=node.name, line=first)


def _text_part(lines: list[str], count: int, first: int) -> Iterator[Part]:
    text = "\n".join(lines).strip()
    if text:
        yield Part(text, "" if count == 1 else str(count), line=None if count == 1 else first)


def _sections(lines: list[str]) -> list[tuple[tuple[str, ...], int, list[str]]]:
    """(path of headings, line of the heading, lines below it); lines above the first heading have the path ()."""
    sections: list[tuple[tuple[str, ...], int, list[str]]] = [((), 1, [])]
    above: list[tuple[int, str]] = []
    fence = ""
    for number, line in enumerate(lines, start=1):
        mark = _FENCE.match(line)
        heading = None if fence else _HEADING.match(line)
        if heading:
            level, text = len(heading[1]), (heading[2] or "").strip()
            above = [(depth, name) for depth, name in above if depth < level] + [(level, text)]
            sections.append((tuple(name for _, name in above), number, []))
            continue
        if mark:
            # a fence is closed by one at least as long, of the same character, with nothing behind it
            closes = mark[1].startswith(fence) and not line.strip().strip(mark[1][0])
            fence = ("" if closes else fence) if fence else mark[1]
        sections[-1][2].append(line)
    return sections


class _Page(HTMLParser):
    """Collects the title and the text a browser would show, with a line end around every block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.visible: list[str] = []
        self.title: list[str] = []
        self._unseen = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the text inside is; called by the parser."""
        if tag == "title" and not self._unseen:
            self._in_title = True
        elif tag in _UNSEEN:
            self._unseen += 1
        elif tag in _BLOCKS:
            self.visible.append("\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<br/>` and its like open nothing; called by the parser."""
        if tag in _BLOCKS:
            self.visible.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """Undo what the start noted; called by the parser."""
        if tag == "title":
            self._in_title = False
        elif tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in _BLOCKS:
            self.visible.append("\n")

    def handle_data(self, data: str) -> None:
        """Keep text; called by the parser."""
        if self._in_title:
            self.title.append(data)
        elif not self._unseen:
            # white space in the source is only a space on the page
            self.visible.append(re.sub(r"\s+", " ", data))


def _definitions(text: str) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in somebody else's strings
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]


def _first_line(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
