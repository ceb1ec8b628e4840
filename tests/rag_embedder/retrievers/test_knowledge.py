"""Documents: what comes back is what went in, whole or as chunks that know where they stand."""

from itertools import pairwise
from types import MappingProxyType

import pytest

from rag_embedder import Document, KnowledgeRetriever
from rag_embedder.errors import (
    ConfigError,
    DuplicateIdError,
    FilterError,
    InputError,
    InvalidTextError,
    StoreFormatError,
)
from rag_embedder.types import Chunk
from tests.retriever_cases import Watched, WordEncoder

LONG = " ".join(f"word{n}" for n in range(100))


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def kb(watched):
    with KnowledgeRetriever(watched) as opened:
        yield opened


def test_a_document_comes_back_as_it_was_added(kb):
    metadata = {"year": 2020, "tags": ["a", {"b": None}], "ratio": 0.5, "big": 2**63 - 1, "": "empty key"}
    document = Document("Oslo is a city\n\x00 in Norway 🐈", id="1", title="Oslo", metadata=metadata)
    assert kb.add([document]) == ["1"]
    hit = kb.retrieve("oslo")[0]
    assert hit.item == document
    assert (hit.id, hit.rank) == ("1", 1)


def test_strings_and_documents_without_id_get_one_made_of_their_content(kb):
    first, second, third = kb.add(["a cat", Document("a cat"), Document("a cat", title="t")])
    assert first == second != third
    assert len(kb) == 2
    assert kb.add(["a cat"]) == [first]
    assert kb.retrieve("a cat", 1)[0].id == first
    with KnowledgeRetriever(WordEncoder("x")) as other:
        assert other.add(["a cat"]) == [first]


def test_nothing_that_was_passed_in_is_changed_and_hits_share_nothing(kb):
    metadata = {"tags": ["a"]}
    kb.add([Document("a cat", id="1", metadata=metadata)])
    hit = kb.retrieve("cat")[0]
    hit.item.metadata["tags"].append("changed")
    assert metadata == {"tags": ["a"]}
    assert kb.retrieve("cat")[0].item.metadata == {"tags": ["a"]}
    metadata["tags"].append("later")
    assert kb.retrieve("cat")[0].item.metadata == {"tags": ["a"]}


def test_the_title_is_encoded_and_searched_before_the_text(kb, watched):
    kb.add([Document("is a city", title="Oslo"), Document("bare text")])
    assert watched.documents == ["Oslo is a city", "bare text"]
    assert kb.retrieve("oslo", 1, mode="lexical")[0].item.title == "Oslo"


@pytest.mark.parametrize("changed", [{"metadata": {"a": 2}}, {"title": "new"}, {"text": "new cat"}])
def test_a_change_anywhere_replaces_the_document(kb, changed):
    kb.add([Document("a cat", id="1", metadata={"a": 1})])
    after = Document(**{"text": "a cat", "id": "1", "metadata": {"a": 1}, **changed})
    report = kb.update([after])
    assert report.updated == ("1",)
    assert [hit.item for hit in kb.retrieve("cat")] == [after]


def test_a_change_inside_a_nested_mapping_is_noticed(kb):
    for year in (2020, 2021):
        kb.add([Document("a cat", id="1", metadata={"inner": MappingProxyType({"year": year})})])
    assert kb.retrieve("cat")[0].item.metadata == {"inner": {"year": 2021}}
    assert kb.update([Document("a cat", id="1", metadata={"inner": {"year": 2021}})]).unchanged == ("1",)


def test_a_generator_of_documents_is_read_once(kb):
    assert kb.add(Document(f"cat {n}", id=str(n)) for n in range(3)) == ["0", "1", "2"]
    assert len(kb) == 3


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (Document(""), r"documents\[1\]\.text: the text is empty"),
        (Document(" \n\u200b"), r"documents\[1\]\.text: the text is empty"),
        (Document(None), r"documents\[1\]\.text: got NoneType; expected str"),
        (Document("x", title=None), r"documents\[1\]\.title: got NoneType; expected str"),
        (Document("half \ud83d"), r"documents\[1\]\.text: lone surrogate U\+D83D at character 5"),
        (Document("x", id=7), r"documents\[1\]\.id: got int; expected a string of 1 to 512"),
        (Document("x", id=["7"]), r"documents\[1\]\.id: got list"),
        (Document("x", id=b"7"), r"documents\[1\]\.id: got bytes"),
        (Document("x", id=""), r"documents\[1\]\.id: got a string of 0 characters"),
        (Document("x", id="a\nb"), r"documents\[1\]\.id: got U\+000A"),
        (Document("x", id="7", metadata=None), r"metadata of entry '7': got NoneType; expected a mapping"),
        (Document("x", id="7", metadata={"a": {"b": {1}}}), r"metadata\.a\.b of entry '7': got set"),
        (Document("x", id="7", metadata={1: "a"}), "expected string keys"),
        (Document("x", id="7", metadata={"a": float("inf")}), r"metadata\.a .* expected a finite number"),
        ({"text": "x"}, r"documents\[1\]: got dict; expected Document or str"),
        (None, r"documents\[1\]: got NoneType"),
        (5, r"documents\[1\]: got int"),
    ],
)
def test_a_bad_document_is_named_and_nothing_is_added(kb, watched, document, message):
    with pytest.raises(InputError, match=message):
        kb.add(["fine", document])
    assert len(kb) == 0
    assert watched.documents == []


def test_endless_metadata_is_refused(kb):
    circle: dict = {}
    circle["again"] = circle
    deep: dict = {}
    for _ in range(5000):
        deep = {"d": deep}
    for metadata in (circle, deep):
        with pytest.raises(InputError, match="levels"):
            kb.add([Document("x", id="1", metadata=metadata)])


def test_duplicate_ids_are_named_at_their_places_in_the_call(kb):
    with pytest.raises(DuplicateIdError, match=r"id 'b' occurs at 3 and at 4"):
        kb.add(["same", "same", Document("x", id="a"), Document("y", id="b"), Document("z", id="b")])
    (made,) = kb.add(["same"])
    with pytest.raises(DuplicateIdError, match="occurs at 1 and at 2"):
        kb.add(["other", "same", Document("z", id=made)])
    assert len(kb) == 1


def test_one_bare_document_is_refused_with_the_remedy(kb):
    with pytest.raises(InvalidTextError, match=r"got Document; expected a list .* Wrap a single one in a list"):
        kb.add(Document("x"))


def test_long_documents_become_chunks_that_know_their_span(watched):
    with KnowledgeRetriever(watched, chunk_tokens=16, chunk_overlap=4) as kb:
        kb.add([Document(LONG, id="long", title="Words", metadata={"a": 1}), Document("short cat", id="short")])
        assert len(kb) == 2
        hits = kb.retrieve("word50", 3, mode="lexical")
        for hit in hits:
            chunk = hit.item
            assert isinstance(chunk, Chunk)
            assert chunk.text == LONG[chunk.start : chunk.end]
            assert "word50" in chunk.text.split()
            assert (chunk.document_id, chunk.title, chunk.metadata) == ("long", "Words", {"a": 1})
            assert hit.id == chunk.id == f"long#{chunk.id.rpartition('#')[2]}"
        assert 1 <= len(hits) <= 2
        assert isinstance(kb.retrieve("short cat", 1)[0].item, Document)
        spans = sorted((hit.item.start, hit.item.end) for hit in kb.retrieve("word", 100) if hit.item.title)
        assert spans[0][0] == 0
        assert spans[-1][1] == len(LONG)
        assert all(after[0] < before[1] for before, after in pairwise(spans))
        assert kb.delete(["long"]) == 1
        assert [hit.id for hit in kb.retrieve("word50 cat", 100)] == ["short"]


def test_a_replaced_long_document_leaves_no_chunk_behind(watched):
    with KnowledgeRetriever(watched, chunk_tokens=16) as kb:
        kb.add([Document(LONG, id="long")])
        kb.add([Document("word50 only", id="long")])
        assert [hit.id for hit in kb.retrieve("word50", 100)] == ["long"]
        assert kb.retrieve("word7", 100, mode="lexical") == []


def test_reading_metadata_lists_each_document_once(watched):
    with KnowledgeRetriever(watched, chunk_tokens=16) as kb:
        kb.add([Document(LONG, id="long", metadata={"a": 1}), Document("x", id="short")])
        assert list(kb.iter_metadata()) == [("long", {"a": 1}), ("short", {})]


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunk_tokens": 7},
        {"chunk_tokens": 16.0},
        {"chunk_tokens": True},
        {"chunk_tokens": "16"},
        {"chunk_tokens": 16, "chunk_overlap": 16},
        {"chunk_tokens": 16, "chunk_overlap": -1},
        {"chunk_tokens": 16, "chunk_overlap": 1.5},
        {"chunk_tokens": 16, "chunk_overlap": "2"},
    ],
)
def test_chunk_sizes_out_of_range_are_refused(watched, wrong):
    with pytest.raises(ConfigError, match=r"chunk_(tokens|overlap): got .*; expected"):
        KnowledgeRetriever(watched, **wrong)


@pytest.mark.parametrize("mode", ["dense", "hybrid", "lexical"])
def test_filters_choose_documents_by_metadata(kb, mode):
    kb.add(
        Document(f"cat {n}", id=str(n), metadata={"year": 2000 + n, "lang": "en" if n % 2 else "de"}) for n in range(9)
    )
    hits = kb.retrieve("cat 5", 9, filter={"year": {"gte": 2004}, "lang": "en"}, mode=mode)
    assert sorted(hit.id for hit in hits) == ["5", "7"]
    assert kb.retrieve("cat 5", 9, filter={"yaer": 2004}, mode=mode) == []
    with pytest.raises(FilterError, match="unknown operator '\\$gte'"):
        kb.retrieve("cat 5", 9, filter={"year": {"$gte": 2004}}, mode=mode)


def test_a_folder_with_other_content_is_left_alone(watched, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreFormatError, match="not a rag_embedder store"):
        KnowledgeRetriever(watched, path=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_path_may_be_a_string(watched, tmp_path):
    with KnowledgeRetriever(watched, path=str(tmp_path / "deep" / "kb")) as kb:
        kb.add(["a cat"])
        assert kb.path == tmp_path / "deep" / "kb"


def test_hundreds_of_documents_are_ranked_as_by_numpy(watched):
    texts = [f"w{n % 13} v{n % 17} u{n}" for n in range(400)]
    with KnowledgeRetriever(watched) as kb:
        kb.add([Document(text, id=text) for text in texts])
        query = "w3 v5 u200"
        hits = kb.retrieve(query, 20)
    encoder = WordEncoder()
    scores = encoder.encode_documents(texts) @ encoder.encode_queries([query])[0]
    best = sorted(zip(texts, scores, strict=True), key=lambda pair: -pair[1])[:20]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in best], abs=1e-6)
    assert {hit.id for hit in hits[:10]} == {text for text, _ in best[:10]}
