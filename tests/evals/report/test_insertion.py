"""Tables go between the marks of a document, and nowhere else."""

import pytest

from evals.report import ReportFiles
from evals.report.insertion import insert_tables
from rag_embedder.errors import InputError


@pytest.fixture
def files(tmp_path):
    (tmp_path / "table.md").write_text("| full |\n")
    (tmp_path / "table-short.md").write_text("| short \\1 |\n")
    return ReportFiles(
        table=tmp_path / "table.md", short_table=tmp_path / "table-short.md", page=tmp_path / "report.html"
    )


def test_blocks_are_replaced_and_the_rest_stays(tmp_path, files):
    document = tmp_path / "doc.md"
    document.write_text(
        "# Before\n<!-- results: short -->\nold\n<!-- end of results -->\nbetween\n"
        "<!-- results: full -->\n<!-- end of results -->\nafter\n"
    )
    expected = (
        "# Before\n<!-- results: short -->\n| short \\1 |\n<!-- end of results -->\nbetween\n"
        "<!-- results: full -->\n| full |\n<!-- end of results -->\nafter\n"
    )
    assert insert_tables(document, files) == 2
    assert document.read_text() == expected
    insert_tables(document, files)
    assert document.read_text() == expected


def test_a_document_without_a_block_is_not_touched(tmp_path, files):
    document = tmp_path / "doc.md"
    document.write_text("<!-- results: full -->\nno end\n")
    with pytest.raises(InputError, match="has no block for results"):
        insert_tables(document, files)
    assert document.read_text() == "<!-- results: full -->\nno end\n"
    with pytest.raises(InputError, match="cannot be read"):
        insert_tables(tmp_path / "nowhere.md", files)
