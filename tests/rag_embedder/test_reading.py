"""Files become documents; what cannot be read is named, and nothing else is lost."""

import gzip
import json
import os
from pathlib import Path

import pytest

from rag_embedder.errors import InputError
from rag_embedder.reading import Skipped, read_documents
from rag_embedder.reading.prose import MAX_PART_CHARACTERS
from rag_embedder.types import Document


def read(*paths: Path) -> tuple[list[Document], list[Skipped]]:
    skipped: list[Skipped] = []
    return list(read_documents(paths, on_skip=skipped.append)), skipped


def read_file(folder: Path, name: str, content: str | bytes) -> tuple[list[Document], list[Skipped]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path)


def test_beir_rows_become_documents_with_their_metadata(tmp_path: Path) -> None:
    rows = [
        {"_id": "d1", "title": "Oslo", "text": "A city.", "metadata": {"lang": "en"}, "year": 2020},
        {"id": 7, "contents": "Bergen."},
        {"text": "No id."},
    ]
    path = tmp_path / "corpus.jsonl"
    documents, skipped = read_file(tmp_path, path.name, "\n".join(json.dumps(row) for row in rows))
    source = str(path)
    assert documents == [
        Document("A city.", "d1", "Oslo", {"lang": "en", "year": 2020, "source": source, "line": 1}),
        Document("Bergen.", "7", "", {"source": source, "line": 2}),
        Document("No id.", f"{tmp_path.name}/corpus.jsonl#L3", "", {"source": source, "line": 3}),
    ]
    assert skipped == []


def test_bad_rows_are_reported_with_their_line_and_the_rest_is_kept(tmp_path: Path) -> None:
    lines = [
        b'{"_id": "good1", "text": "first"}',
        b'{"text": "unfinished',
        b"[1, 2]",
        b'{"title": "no text"}',
        b'{"text": 5}',
        b'{"text": "x", "score": NaN}',
        b'{"text": "x", "score": 1e999}',
        b'{"text": "x", "text": "y"}',
        b'{"text": "   "}',
        b'{"text": "x", "id": 1.5}',
        b'{"text": "x", "id": true}',
        b'{"text": "x", "title": ["y"]}',
        b'{"text": "x", "metadata": "y"}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b"[" * 100_000,
        b'{"text": "x", "n": ' + b"9" * 10_000 + b"}",
        b'{"_id": "good1", "text": "again"}',
        b"",
        b'{"_id": "good2", "text": "last"}',
    ]
    documents, skipped = read_file(tmp_path, "rows.jsonl", b"\n".join(lines))
    assert [(document.id, document.text) for document in documents] == [("good1", "first"), ("good2", "last")]
    assert [skip.line for skip in skipped] == list(range(2, 19))
    reasons = {skip.line: skip.reason for skip in skipped}
    for line, fragment in {
        2: "not JSON: Unterminated string",
        3: "the row is a list; expected an object",
        4: "no text; expected one of the fields text, contents, content, body",
        5: "'text' is a int; expected a str",
        6: "NaN is not a JSON number",
        7: "1e999 is too large",
        8: "'text' occurs twice",
        9: "'text' is empty",
        10: "'id' is a float",
        11: "'id' is a bool",
        12: "'title' is a list",
        13: "'metadata' is a str",
        14: "not UTF-8 at byte 10",
        15: "half of a surrogate pair",
        16: "nested too deeply",
        17: "10000 digits",
        18: "'good1' was already read",
    }.items():
        assert fragment in reasons[line], line
    assert str(skipped[0]).startswith(f"{tmp_path / 'rows.jsonl'}:2: not JSON")


def test_byte_order_mark_windows_lines_and_blank_lines_are_accepted(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"_id": "a", "text": "one"}\r\n\r\n{"_id": "b", "text": "two"}\r\n'
    documents, skipped = read_file(tmp_path, "rows.jsonl", content)
    assert [(d.id, d.text, d.metadata["line"]) for d in documents] == [("a", "one", 1), ("b", "two", 3)]
    assert skipped == []


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl"])
def test_gzip_is_known_by_its_bytes_not_by_its_name(tmp_path: Path, name: str) -> None:
    documents, skipped = read_file(tmp_path, name, gzip.compress(b'{"_id": "a", "text": "one"}'))
    assert [d.id for d in documents] == ["a"]
    assert skipped == []


def test_a_gz_name_over_plain_bytes_is_read(tmp_path: Path) -> None:
    documents, _ = read_file(tmp_path, "rows.txt.gz", b"plain")
    assert [d.text for d in documents] == ["plain"]


def test_cut_off_gzip_keeps_what_could_be_read(tmp_path: Path) -> None:
    rows = b"".join(b'{"_id": "%d", "text": "%s"}\n' % (i, os.urandom(40).hex().encode()) for i in range(5000))
    documents, skipped = read_file(tmp_path, "rows.jsonl.gz", gzip.compress(rows)[:-5000])
    assert len(documents) > 100
    assert [skip.reason for skip in skipped] == ["the gzip data is damaged or cut off"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("grüße".encode("utf-16"), "UTF-16"),
        ("hello world".encode("utf-16-le"), "UTF-16"),
        ("hello".encode("utf-32"), "UTF-32"),
        (b"\x89PNG\x00\x01\x02", "binary"),
        (b"caf\xe9", "not UTF-8 at byte 3"),
        (b"", "holds no text"),
        (b" \n\n", "holds no text"),
    ],
)
def test_unreadable_files_are_reported_and_the_others_read(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "b.txt").write_text("fine")
    documents, skipped = read(tmp_path)
    assert [d.text for d in documents] == ["fine"]
    assert [skip.path for skip in skipped] == [str(tmp_path / "a.txt")]
    assert reason in skipped[0].reason


def test_folders_are_read_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ["b.txt", "a/z.txt", "a/y.txt", ".git/x.txt", ".x.txt", "__pycache__/x.txt", "node_modules/x.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    documents, skipped = read(tmp_path)
    assert [d.text for d in documents] == ["b.txt", "a/y.txt", "a/z.txt"]
    assert [d.id for d in documents] == [f"{tmp_path.name}/{name}" for name in ("b.txt", "a/y.txt", "a/z.txt")]
    assert skipped == []


def test_a_file_has_the_same_id_alone_as_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "guide.txt").write_text("text")
    (in_folder,), _ = read(tmp_path)
    (alone,), _ = read(tmp_path / "guide.txt")
    assert in_folder.id == alone.id == f"{tmp_path.name}/guide.txt"


def test_unknown_kinds_and_links_to_nowhere_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    (tmp_path / "b").write_text("text")
    (tmp_path / "c.txt").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "d.txt")
    documents, skipped = read(tmp_path)
    assert documents == []
    assert ["'.pdf' is not known" in skipped[0].reason, "without suffix" in skipped[1].reason] == [True, True]
    assert [skip.reason for skip in skipped[2:]] == ["is not a regular file, or a link that leads nowhere"] * 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("secret")
    (tmp_path / "a.txt").chmod(0)
    documents, skipped = read(tmp_path)
    assert documents == []
    assert "Permission denied" in skipped[0].reason


def test_an_operating_system_error_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str = "r") -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.txt").write_text("x")
    monkeypatch.setattr(Path, "open", refuse)
    _, skipped = read(tmp_path)
    assert [skip.reason for skip in skipped] == ["cannot be read: Permission denied"]


def test_a_missing_path_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere' does not exist"):
        read_documents([tmp_path, tmp_path / "nowhere"])


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("once")
    documents, skipped = read(tmp_path, tmp_path / "a.txt")
    assert len(documents) == 1
    assert [skip.reason for skip in skipped] == ["is the same file as one that was read before"]


def test_the_first_of_two_documents_with_one_id_is_kept(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"_id": "x", "text": "from b"}')
    (tmp_path / "a.jsonl").write_text('{"_id": "x", "text": "from a"}')
    documents, skipped = read(tmp_path)
    assert [d.text for d in documents] == ["from a"]
    assert skipped[0].path == str(tmp_path / "b.jsonl")
    assert skipped[0].line == 1
    assert str(tmp_path / "a.jsonl") in skipped[0].reason


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
    base = f"{tmp_path.name}/rows.json"
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
        ("1", "A", "one,\r\nstill one", "2020", 2),
        ("3", "C", "three", "2021", 6),
    ]
    assert [(skip.line, skip.reason) for skip in skipped] == [
        (4, "the row has 2 fields; expected 4, as in the header"),
        (7, "'text' is empty; expected a text"),
    ]


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
    base = f"{tmp_path.name}/guide.md"
    assert [(d.id, d.title, d.text, d.metadata.get("line")) for d in documents] == [
        (base, "", "Preface.", 1),
        (f"{base}#Guide > Install", "Guide > Install", "Run this:\n\n```sh\n# not a heading\n```", 5),
        (f"{base}#Guide > Use", "Guide > Use", "Call it.", 12),
        (f"{base}#Empty", "Empty", "Empty", 15),
        (f"{base}#Guide", "Guide", "Again.", 17),
    ]
    assert skipped == []


def test_two_sections_of_one_name_are_both_kept(tmp_path: Path) -> None:
    documents, skipped = read_file(tmp_path, "a.md", "# News\nfirst\n# News\nsecond\n")
    base = f"{tmp_path.name}/a.md#News"
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
    base = f"{tmp_path.name}/mod.py"
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


def test_a_very_long_text_is_cut_between_lines_without_loss(tmp_path: Path) -> None:
    line = "x" * 999
    lines = [f"{number} {line}" for number in range(MAX_PART_CHARACTERS // 1000 * 2)]
    documents, _ = read_file(tmp_path, "long.txt", "\n".join(lines))
    base = f"{tmp_path.name}/long.txt"
    assert [d.id for d in documents] == [base, f"{base}#2", f"{base}#3"]
    assert all(len(d.text) <= MAX_PART_CHARACTERS for d in documents)
    assert "\n".join(d.text for d in documents).split("\n") == lines
    second_starts = documents[1].metadata["line"]
    assert documents[1].text.split("\n")[0] == lines[second_starts - 1]


def test_documents_come_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "endless.jsonl"
    path.write_text('{"_id": "a", "text": "one"}\n' + '{"broken\n' * 100_000)
    skipped: list[Skipped] = []
    assert next(read_documents([path], on_skip=skipped.append)).id == "a"
    assert skipped == []


def test_skipping_without_a_callback_is_silent(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"broken\n{"_id": "b", "text": "kept"}\n')
    assert [d.id for d in read_documents([str(tmp_path)])] == ["b"]
