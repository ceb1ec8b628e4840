"""Generated tables inside documents that people write: between two marks, and never typed."""

import re
from pathlib import Path

from evals.report import ReportFiles
from evals.whole_file import write_text
from rag_embedder.errors import InputError

_BLOCK = re.compile(r"(<!-- results: (?P<form>full|short) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def insert_tables(document: Path, files: ReportFiles) -> int:
    """Put a run's tables into the blocks of a document; returns how many blocks there were.

    A block begins with the line `<!-- results: full -->` or `<!-- results: short -->` and ends with
    `<!-- end of results -->`; what stands between is replaced.

    Raises:
        InputError: if the document cannot be read, or has no block.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"{document} cannot be read ({fault}); expected a Markdown file.") from fault
    tables = {"full": files.table, "short": files.short_table}

    def filled(block: re.Match[str]) -> str:
        table = tables[block["form"]].read_text(encoding="utf-8").strip()
        return f"{block[1]}{table}\n{block[3]}"

    written, count = _BLOCK.subn(filled, text)
    if not count:
        raise InputError(
            f"{document} has no block for results; expected the lines '<!-- results: full -->' (or short) and "
            "'<!-- end of results -->'. Nothing was changed."
        )
    write_text(written, document)
    return count
