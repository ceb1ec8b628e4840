"""`index` run again after the files changed, moved or went away; nothing is lost to bad input or equal ids."""

import json
from pathlib import Path

import pytest

from rag_embedder.cli.indexing import index_paths
from rag_embedder.errors import ConfigError
from rag_embedder.retrievers.knowledge import KnowledgeRetriever
from rag_embedder.types import Document


@pytest.fixture
def index(embedder, tmp_path):
    """Index paths into one store; returns the report."""

    def call(*paths):
        return index_paths(embedder, paths, store=tmp_path / "store", scenario="qa", chunk_tokens=None, index="flat")

    return call


@pytest.fixture
def stored(embedder, tmp_path):
    """What the store holds: name of the source file by text."""

    def call():
        with KnowledgeRetriever(embedder, path=tmp_path / "store", index="flat") as knowledge:
            hits = knowledge.retrieve("about water", k=100)
        return {hit.item.text: hit.item.metadata["source"].rpartition("/")[2] for hit in hits}

    return call


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


def write_rows(path, **texts):
    path.write_text("".join(json.dumps({"_id": id_, "text": text}) + "\n" for id_, text in texts.items()))


def test_removed_rows_are_removed_wherever_the_program_is_started(index, stored, docs, monkeypatch):
    write_rows(docs / "a.jsonl", x="one", y="two")
    index(docs)
    write_rows(docs / "a.jsonl", x="one")
    monkeypatch.chdir(docs)
    report = index(Path("a.jsonl"))
    assert (report.unchanged, report.removed) == (1, 1)
    assert stored() == {"one": "a.jsonl"}


def test_two_folders_of_one_name_are_both_kept(index, stored, tmp_path):
    for project in ("one", "two"):
        (tmp_path / project / "docs").mkdir(parents=True)
        (tmp_path / project / "docs" / "a.txt").write_text(project)
        report = index(tmp_path / project / "docs")
    assert (report.added, report.updated, report.documents) == (1, 0, 2)


def test_an_id_belongs_to_the_file_that_had_it_first(index, stored, docs):
    write_rows(docs / "b.jsonl", x="from b")
    index(docs)
    write_rows(docs / "a.jsonl", x="from a", y="also a")
    write_rows(docs / "b.jsonl", x="from b, changed")
    report = index(docs)
    assert (report.added, report.updated, report.removed) == (1, 1, 0)
    assert stored() == {"from b, changed": "b.jsonl", "also a": "a.jsonl"}
    (skip,) = report.skipped
    assert (skip.path, skip.line) == (str(docs / "a.jsonl"), 1)
    assert f"id 'x' belongs to {docs / 'b.jsonl'}" in skip.reason


def test_a_file_whose_id_is_taken_still_loses_its_removed_rows(index, stored, docs):
    write_rows(docs / "a.jsonl", x="from a")
    write_rows(docs / "b.jsonl", x="from b", y="old")
    index(docs)
    write_rows(docs / "b.jsonl", x="from b")
    assert index(docs / "b.jsonl").removed == 1
    assert stored() == {"from a": "a.jsonl"}


def test_a_renamed_file_takes_its_ids_with_it(index, stored, docs):
    write_rows(docs / "a.jsonl", x="one", y="two")
    index(docs)
    (docs / "a.jsonl").rename(docs / "b.jsonl")
    report = index(docs)
    assert (report.added, report.updated, report.removed, report.skipped) == (0, 2, 0, ())
    assert stored() == {"one": "b.jsonl", "two": "b.jsonl"}


def test_a_row_that_moves_to_another_file_is_not_lost(index, stored, docs):
    write_rows(docs / "a.jsonl", x="one", y="two")
    write_rows(docs / "b.jsonl", z="three")
    index(docs)
    write_rows(docs / "a.jsonl", x="one")
    write_rows(docs / "b.jsonl", y="two", z="three")
    report = index(docs)
    assert (report.documents, report.skipped) == (3, ())
    assert stored() == {"one": "a.jsonl", "two": "b.jsonl", "three": "b.jsonl"}


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "empty"])
def test_what_a_file_gave_goes_with_it(index, stored, docs, is_deleted):
    (docs / "sub").mkdir()
    write_rows(docs / "sub" / "a.jsonl", x="one", y="two")
    write_rows(docs / "b.jsonl", z="three")
    index(docs)
    (docs / "sub" / "a.jsonl").unlink() if is_deleted else (docs / "sub" / "a.jsonl").write_text("")
    assert index(docs / "b.jsonl").removed == 0
    assert index(docs).removed == 2
    assert stored() == {"three": "b.jsonl"}


def test_an_emptied_file_that_is_named_itself_loses_its_documents(index, stored, docs):
    write_rows(docs / "a.jsonl", x="one")
    index(docs)
    (docs / "a.jsonl").write_text("")
    assert (index(docs / "a.jsonl").removed, stored()) == (1, {})


@pytest.mark.parametrize("content", [b"\x89PNG\x00\x00", b"\n\n", b'{"_id": "x", "text": "one, cha'])
def test_a_file_that_became_unreadable_keeps_what_it_gave(index, stored, docs, content):
    write_rows(docs / "a.jsonl", x="one", y="two")
    index(docs)
    (docs / "a.jsonl").write_bytes(content)
    assert (index(docs).removed, stored()) == (0, {"one": "a.jsonl", "two": "a.jsonl"})


def test_a_file_named_twice_still_loses_its_removed_rows(index, stored, docs):
    write_rows(docs / "a.jsonl", x="one", y="two")
    index(docs)
    write_rows(docs / "a.jsonl", x="one")
    assert index(docs, docs / "a.jsonl").removed == 1


def test_documents_of_other_origin_are_left_alone(embedder, index, docs, tmp_path):
    with KnowledgeRetriever(embedder, path=tmp_path / "store", index="flat") as knowledge:
        knowledge.add(["no source", "another"])
        knowledge.add([Document("third", id="x", metadata={"source": "a.py"})])
    write_rows(docs / "a.jsonl", y="one")
    report = index(docs)
    assert (report.added, report.removed, report.documents) == (1, 0, 4)


@pytest.mark.parametrize(("scenario", "index"), [("qaa", "flat"), ("qa", "fais")])
def test_a_misspelt_option_creates_no_store(embedder, docs, tmp_path, scenario, index):
    (docs / "a.txt").write_text("text")
    with pytest.raises(ConfigError, match="Did you mean"):
        index_paths(embedder, [docs], store=tmp_path / "new", scenario=scenario, chunk_tokens=None, index=index)
    assert not (tmp_path / "new").exists()
