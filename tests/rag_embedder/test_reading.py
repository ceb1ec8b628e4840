"""Files and folders become documents; what cannot be read is named, and nothing else is lost."""

import gzip
import json
import os
from pathlib import Path

import pytest

from rag_embedder.errors import InputError
from rag_embedder.reading import Skipped, read_documents
from rag_embedder.reading.prose import MAX_PART_CHARACTERS
from rag_embedder.types import Document
from tests.read_files import read, read_file


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
        Document("No id.", f"{source}#L3", "", {"source": source, "line": 3}),
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
    assert [d.id for d in documents] == [f"{tmp_path}/{name}" for name in ("b.txt", "a/y.txt", "a/z.txt")]
    assert skipped == []


def test_a_file_has_the_same_id_alone_as_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "guide.txt").write_text("text")
    (in_folder,), _ = read(tmp_path)
    (alone,), _ = read(tmp_path / "guide.txt")
    assert in_folder.id == alone.id == f"{tmp_path}/guide.txt"


def test_the_source_is_absolute_wherever_the_program_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    (from_above,), _ = read(Path("docs"))
    monkeypatch.chdir(tmp_path / "docs")
    (from_inside,), _ = read(Path("a.txt"))
    path = str((tmp_path / "docs" / "a.txt").resolve())
    assert from_above == from_inside
    assert (from_above.id, from_above.metadata["source"]) == (path, path)


def test_folders_of_one_name_share_no_ids(tmp_path: Path) -> None:
    for project in ("one", "two"):
        (tmp_path / project / "docs").mkdir(parents=True)
        (tmp_path / project / "docs" / "a.txt").write_text(project)
    documents, skipped = read(tmp_path / "one" / "docs", tmp_path / "two" / "docs")
    assert [d.id for d in documents] == [f"{tmp_path}/{project}/docs/a.txt" for project in ("one", "two")]
    assert skipped == []


def test_a_very_long_path_or_heading_gives_an_id_that_a_store_takes(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    heading = "h" * 600
    (deep / "a.md").write_text(f"# {heading}1\nfirst\n# {heading}2\nsecond\n")
    (first, second), skipped = read(tmp_path)
    assert skipped == []
    assert first.id != second.id
    for document in (first, second):
        path, _, part = str(document.id).partition("#")
        assert path[12:] == "…" + str(deep / "a.md")[-380:]
        assert len(part) == 12 + 1 + 80
        assert document.title.startswith(heading)


def test_a_row_that_no_store_takes_is_reported_and_the_others_kept(tmp_path: Path) -> None:
    rows = [{"_id": "x" * 600, "text": "a"}, {"_id": "a\nb", "text": "b"}, {"text": "c", "n": 2**70}, {"text": "kept"}]
    documents, skipped = read_file(tmp_path, "rows.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert [d.text for d in documents] == ["kept"]
    assert [skip.line for skip in skipped] == [1, 2, 3]
    assert "512 characters" in skipped[0].reason
    assert "U+000A" in skipped[1].reason
    assert "64 bits" in skipped[2].reason


def test_a_refused_document_leaves_its_id_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"_id": "x", "text": "from a"}')
    (tmp_path / "b.jsonl").write_text('{"_id": "x", "text": "from b"}')
    skipped: list[Skipped] = []
    found = read_documents([tmp_path], on_skip=skipped.append, refuse=lambda d: "no" if d.text == "from a" else "")
    assert [d.text for d in found] == ["from b"]
    assert skipped == [Skipped(str(tmp_path / "a.jsonl"), 1, "no", "repeat")]


def test_a_link_to_itself_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("fine")
    documents, skipped = read(tmp_path)
    assert [d.text for d in documents] == ["fine"]
    assert [skip.path for skip in skipped] == [str(tmp_path / "a.txt")]


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


def test_a_very_long_text_is_cut_between_lines_without_loss(tmp_path: Path) -> None:
    line = "x" * 999
    lines = [f"{number} {line}" for number in range(MAX_PART_CHARACTERS // 1000 * 2)]
    documents, _ = read_file(tmp_path, "long.txt", "\n".join(lines))
    base = f"{tmp_path}/long.txt"
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
