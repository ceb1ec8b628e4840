"""What each format becomes: JSON, tables, Markdown, HTML and Python."""

from pathlib import Path

import pytest

from tests.read_files import read_file


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"_id": "a", "text": "one"}, {"text": "two"}]', [("a", "one"), ("{base}#2", "two")]),
        ('{"_id": "a", "text": "one", "extra": {"k": 1}}', [("a", "one")]),
        ('{"a": {"title": "t", "text": "one"}, "b": {"text": "two"}}', [("a", "one"), ("b", "two")]),
        ('{"_id": "a", "text": "one"}\n{"_id": "b", "text": "two"}\n', [("a", "one"), ("b", "two")]),
    ],
    ids=["list", "one row", "by id", "lines"],
)
def test_json_of_four_shapes_is_read(tmp_path: Path, content: str, expected: list[tuple[str, str]]) -> None:
    documents, skipped = read_file(tmp_path, "rows.json", content)
    base = f"{tmp_path}/rows.json"
    assert [(d.id, d.text) for d in documents] == [(name.format(base=base), text) for name, text in expected]
    assert skipped == []


def test_one_bad_row_in_a_json_list_does_not_lose_the_others(tmp_path: Path) -> None:
    documents, skipped = read_file(tmp_path, "a.json", '[{"text": "x", "v": NaN}, 3, {"text": "kept"}]')
    assert [(d.text, d.metadata["row"]) for d in documents] == [("kept", 3)]
    assert [skip.reason for skip in skipped] == [
        "row 1: NaN is not a JSON number; expected a finite one",
        "row 2: the row is a int; expected an object with a text",
    ]


@pytest.mark.parametrize(("content", "reason"), [('{\n"text": ', "line 2 is not JSON"), ('"word"', "holds a str")])
def test_json_that_is_no_rows_is_reported(tmp_path: Path, content: str, reason: str) -> None:
    documents, skipped = read_file(tmp_path, "a.json", content)
    assert documents == []
    assert reason in skipped[0].reason


def test_comma_tables_have_quoted_cells_and_true_line_numbers(tmp_path: Path) -> None:
    content = '\ufeffid,title,text,year\r\n1,A,"one,\r\nstill one",2020\r\n2,B\r\n\r\n3,C,three,2021\r\n4,D,,2022\r\n'
    documents, skipped = read_file(tmp_path, "a.csv", content)
    assert [(d.id, d.title, d.text, d.metadata["year"], d.metadata["line"]) for d in documents] == [
        ("1", "A", "one,\r\nstill one", 2020, 2),
        ("3", "C", "three", 2021, 6),
    ]
    assert [(skip.line, skip.reason) for skip in skipped] == [
        (4, "the row has 2 fields; expected 4, as in the header"),
        (7, "'text' is empty; expected a text"),
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("2020", 2020), ("-7", -7), ("0", 0), ("0.50", 0.5), ("-1.25", -1.25), (" 3 ", 3),
        ("0047", "0047"), ("1e5", "1e5"), ("1.2.3", "1.2.3"), ("nan", "nan"), ("1_000", "1_000"), ("", ""),
        ("9" * 19, "9" * 19), ("٣", "٣"), ("+5", "+5"), ("2024-01-02", "2024-01-02"),
    ],
)  # fmt: skip
def test_cells_that_are_plain_numbers_become_numbers(tmp_path: Path, cell: str, value: object) -> None:
    (document,), _ = read_file(tmp_path, "a.csv", f"id,text,year\n12,34,{cell}\n")
    assert (document.id, document.text) == ("12", "34")
    assert document.metadata["year"] == value
    assert type(document.metadata["year"]) is type(value)


def test_a_table_separated_by_semicolons_says_so(tmp_path: Path) -> None:
    documents, (skip,) = read_file(tmp_path, "a.csv", "id;text\n1;one\n")
    assert documents == []
    assert "no text column" in skip.reason
    assert "separated by ';'" in skip.reason


def test_a_table_row_in_another_encoding_does_not_lose_the_others(tmp_path: Path) -> None:
    documents, skipped = read_file(tmp_path, "a.csv", b"id,text\n1,one\n2,caf\xe9\n3,three\n")
    assert [(d.id, d.metadata["line"]) for d in documents] == [("1", 2), ("3", 4)]
    assert [skip.line for skip in skipped] == [3]


def test_tab_tables_take_quotes_as_they_are(tmp_path: Path) -> None:
    documents, skipped = read_file(tmp_path, "a.tsv", '_id\ttext\n1\t"open quote\n2\ttwo\n')
    assert [(d.id, d.text) for d in documents] == [("1", '"open quote'), ("2", "two")]
    assert skipped == []


@pytest.mark.parametrize(("header", "reason"), [("id,name", "no text column"), ("text,text", "a column twice")])
def test_a_table_without_usable_header_is_reported_once(tmp_path: Path, header: str, reason: str) -> None:
    documents, skipped = read_file(tmp_path, "a.csv", f"{header}\n1,one\n2,two\n")
    assert documents == []
    assert len(skipped) == 1
    assert reason in skipped[0].reason


def test_markdown_is_split_at_headings_outside_code(tmp_path: Path) -> None:
    content = """Preface.

# Guide

## Install
Run this:

```sh
# not a heading
```

## Use ##
Call it.

# Empty

# Guide
Again.
"""
    documents, skipped = read_file(tmp_path, "guide.md", content)
    base = f"{tmp_path}/guide.md"
    assert [(d.id, d.title, d.text, d.metadata.get("line")) for d in documents] == [
        (base, "", "Preface.", 1),
        (f"{base}#Guide > Install", "Guide > Install", "Run this:\n\n```sh\n# not a heading\n```", 5),
        (f"{base}#Guide > Use", "Guide > Use", "Call it.", 12),
        (f"{base}#Empty", "Empty", "Empty", 15),
        (f"{base}#Guide", "Guide", "Again.", 17),
    ]
    assert skipped == []


def test_trivial_front_matter_is_metadata_and_no_text(tmp_path: Path) -> None:
    content = (
        '---\ntitle: My page\nyear: 2024\ndraft: true\n# why\nnote: "a: b"\nempty:\n---\nBefore.\n\n# Use\nCall it.\n'
    )
    documents, skipped = read_file(tmp_path, "a.md", content)
    metadata = {"title": "My page", "year": 2024, "draft": True, "note": "a: b", "source": str(tmp_path / "a.md")}
    assert [(d.text, dict(d.metadata)) for d in documents] == [
        ("Before.", {**metadata, "line": 1}),
        ("Call it.", {**metadata, "line": 11}),
    ]
    assert skipped == []


@pytest.mark.parametrize(
    "block",
    ["tags:\n  - a\n  - b", "tags: [1, 2]", "map: {a: 1}", "text: |\n  long", "a: 1\na: 2", "ref: *x", "a: 'it''s'"],
)
def test_other_front_matter_is_left_out_without_being_guessed_at(tmp_path: Path, block: str) -> None:
    (document,), _ = read_file(tmp_path, "a.md", f"---\ntitle: T\n{block}\n---\nText.\n")
    assert document.text == "Text."
    assert set(document.metadata) == {"source", "line"}


@pytest.mark.parametrize(
    "content", ["---\nOnly a rule above.\n---\nText.", "---\ntitle: never closed", "\n---\na: b\n---"]
)
def test_a_rule_at_the_top_is_no_front_matter(tmp_path: Path, content: str) -> None:
    (document,), _ = read_file(tmp_path, "a.md", content)
    assert document.text == content.strip()


def test_two_sections_of_one_name_are_both_kept(tmp_path: Path) -> None:
    documents, skipped = read_file(tmp_path, "a.md", "# News\nfirst\n# News\nsecond\n")
    base = f"{tmp_path}/a.md#News"
    assert [(d.id, d.text) for d in documents] == [(base, "first"), (f"{base}~2", "second")]
    assert skipped == []


def test_html_gives_what_is_visible(tmp_path: Path) -> None:
    content = """<!doctype html><html><head><title>My
      page</title><style>p {color: red}</style></head><body><script>var hidden = "<p>";</script>
      <h1>Hello &amp; welcome</h1><p>One <b>bold</b>
      line.<br>Two.</p><template>no</template></body></html>"""
    (document,), skipped = read_file(tmp_path, "a.html", content)
    assert document.title == "My page"
    assert document.text == "Hello & welcome\nOne bold line.\nTwo."
    assert skipped == []


def test_python_is_split_into_definitions_and_loses_no_line(tmp_path: Path) -> None:
    content = '''"""What the module does."""

import os

@decorated
def first(a):
    """Do it."""
    return os.name + a

class Second:
    """A class."""

    def method(self): ...

LAST = 1
'''
    documents, skipped = read_file(tmp_path, "mod.py", content)
    base = f"{tmp_path}/mod.py"
    assert [(d.id, d.title, d.metadata.get("line")) for d in documents] == [
        (base, "", None),
        (f"{base}#first", "first", 5),
        (f"{base}#Second", "Second", 10),
    ]
    assert documents[1].text.startswith("@decorated\ndef first(a):")
    assert documents[2].text.endswith("def method(self): ...")
    kept = sorted(line for d in documents for line in d.text.split("\n") if line.strip())
    assert kept == sorted(line for line in content.split("\n") if line.strip())
    assert skipped == []


def test_python_that_does_not_parse_is_kept_as_text(tmp_path: Path) -> None:
    (document,), skipped = read_file(tmp_path, "old.py", "print 'hello'\ndef f(): pass\n")
    assert document.text == "print 'hello'\ndef f(): pass"
    assert skipped == []
