"""Generated tables inside documents that people write: between two marks, and never typed."""

import re
from collections.abc import Mapping
from pathlib import Path

from evals.report import ReportFiles
from evals.whole_file import write_text
from rag_embedder.errors import InputError

_BLOCK = re.compile(r"(<!-- results: (?P<form>\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def insert_tables(document: Path, files: ReportFiles) -> int:
    """Put a run's tables into the blocks "full" and "short" of a document; returns how many blocks there were.

    Raises:
        InputError: as `fill_blocks`.
    """
    tables = {"full": files.table, "short": files.short_table}
    return fill_blocks(document, {form: path.read_text(encoding="utf-8") for form, path in tables.items()})


def fill_blocks(document: Path, tables: Mapping[str, str]) -> int:
    """Replace what stands in the blocks of a document that have a table here; returns how many there were.

    A block begins with a line such as `<!-- results: full -->` and ends with `<!-- end of results -->`. Blocks of other
    names stay as they are.

    Raises:
        InputError: if the document cannot be read, or has no block for any of the tables.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"{document} cannot be read ({fault}); expected a Markdown file.") from fault
    count = 0

    def filled(block: re.Match[str]) -> str:
        nonlocal count
        if block["form"] not in tables:
            return block[0]
        count += 1
        return f"{block[1]}{tables[block['form']].strip()}\n{block[3]}"

    written = _BLOCK.sub(filled, text)
    if not count:
        wanted = " or ".join(f"'<!-- results: {form} -->'" for form in tables)
        raise InputError(
            f"{document} has no block for results; expected the lines {wanted} and '<!-- end of results -->'. "
            "Nothing was changed."
        )
    write_text(written, document)
    return count
