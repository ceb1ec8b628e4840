"""The path that all retrievers share: what is stored is found, whoever added it, and nothing is encoded twice."""

import threading

import numpy as np
import pytest

from rag_embedder.errors import DuplicateIdError, FilterError, InputError, StoreClosedError
from rag_embedder.search import SemanticSearch
from rag_embedder.store import NewEntry, NewPart, Store
from tests.retriever_cases import Watched, WordEncoder


@pytest.fixture
def store():
    with Store.open(None) as opened:
        yield opened


@pytest.fixture
def watched():
    return Watched(WordEncoder())


def open_search(watched, store, scenario="qa", **more):
    return SemanticSearch(watched, store, kind="passage", scenario=scenario, render=lambda p: p["text"], **more)


def entry(text, id_=None, scope="", **metadata):
    return NewEntry(id_ or text, (NewPart({"text": text}, metadata),), digest=text, scope=scope)


def found(search, query, k=5, **more):
    return [hit.item.id for hit in search.search([query], k, **more)[0]]


def test_a_report_tells_new_changed_and_unchanged_entries(watched, store):
    search = open_search(watched, store)
    first = search.add([entry("a cat", "1"), entry("a dog", "2")])
    assert (first.ids, first.added, first.updated, first.unchanged) == (("1", "2"), ("1", "2"), (), ())
    second = search.add([entry("a dog", "2"), entry("a bird", "1"), entry("a tree", "3")])
    assert (second.ids, second.added) == (("2", "1", "3"), ("3",))
    assert (second.updated, second.unchanged) == (("1",), ("2",))
    assert watched.documents == ["a cat", "a dog", "a bird", "a tree"]
    assert search.add([]).ids == ()


def test_one_id_in_two_scopes_is_two_entries(watched, store):
    search = open_search(watched, store)
    search.add([entry("a cat", "1", "ann"), entry("a dog", "1", "bob")])
    assert store.count("passage") == 2
    assert [hit.item.payload for hit in search.search(["cat"], 5, scope="bob")[0]] == [{"text": "a dog"}]
    with pytest.raises(DuplicateIdError, match=r"'1' occurs at 0 and at 1"):
        search.add([entry("x", "1", "ann"), entry("y", "1", "ann")])


@pytest.mark.parametrize(
    "bad",
    [
        entry("x", "i" * 513),
        entry("x", "line\nbreak"),
        entry("x", made={1, 2}),
        entry("x", ratio=float("nan")),
        entry("x", big=2**63),
        NewEntry("x", (), "d"),
        NewEntry("x", (NewPart({"text": "x"}, {1: "number as key"}),), "d"),
    ],
    ids=["long id", "control character", "set", "NaN", "65 bits", "no parts", "key"],
)
def test_what_cannot_be_stored_is_refused_before_the_model_runs(watched, store, bad):
    search = open_search(watched, store)
    with pytest.raises(InputError, match="Nothing was"):
        search.add([entry("fine"), bad])
    assert watched.documents == []
    assert store.count("passage") == 0


@pytest.mark.parametrize("wrong", [[], "year", {"year": {"$gt": 1}}, {"year": {}}, {"or": 5}, 5, lambda metadata: True])
def test_a_filter_that_cannot_be_understood_is_refused_before_the_model_runs(watched, store, wrong):
    search = open_search(watched, store)
    search.add([entry("a cat")])
    for queries in (["cat"], []):
        with pytest.raises(FilterError):
            search.search(queries, 5, filter=wrong)
    assert watched.queries == []


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_filters_restrict_before_the_ranking(watched, store, mode):
    search = open_search(watched, store)
    search.add([entry(f"cat number{n}", str(n), year=2000 + n) for n in range(200)])
    only = {"year": {"gte": 2010, "lt": 2013}}
    assert sorted(found(search, "cat number5", filter=only, mode=mode)) == ["10", "11", "12"]
    assert found(search, "cat number11", k=1, filter=only, mode=mode) == ["11"]
    assert found(search, "cat", filter={"year": 1999}, mode=mode) == []
    assert len(found(search, "cat", k=7, filter={}, mode=mode)) == 7


def test_hybrid_scores_are_sums_of_reciprocal_ranks(watched, store):
    search = open_search(watched, store)
    search.add([entry("red cat"), entry("blue cat"), entry("green tree")])
    dense = found(search, "blue cat", mode="dense")
    lexical = found(search, "blue cat", mode="lexical")
    assert lexical == ["blue cat", "red cat"]
    hits = search.search(["blue cat"], 5, mode="hybrid")[0]
    for hit in hits:
        ranks = [ranking.index(hit.item.id) + 1 for ranking in (dense, lexical) if hit.item.id in ranking]
        assert hit.score == pytest.approx(sum(1 / (60 + rank) for rank in ranks))


def test_hybrid_does_not_depend_on_how_many_are_asked_for(watched, store):
    search = open_search(watched, store)
    search.add([entry(f"cat w{n} w{n % 7}") for n in range(60)])
    assert found(search, "cat w3 w5", k=40, mode="hybrid")[:5] == found(search, "cat w3 w5", k=5, mode="hybrid")


def test_words_may_differ_from_what_is_encoded(watched, store):
    search = open_search(watched, store, words=lambda payload: payload["text"].removeprefix("speaker "))
    search.add([entry("speaker cat"), entry("speaker dog")])
    assert found(search, "speaker", mode="lexical") == []
    assert found(search, "dog", mode="lexical") == ["speaker dog"]
    assert watched.documents == ["speaker cat", "speaker dog"]


def test_a_second_scenario_encodes_what_the_first_added_once(watched, store):
    first, second = open_search(watched, store), open_search(watched, store, "convsearch")
    first.add([entry(f"cat{n}") for n in range(5)])
    assert found(second, "cat3", k=1) == ["cat3"]
    assert len(watched.documents) == 10
    first.add([entry("later")])
    assert found(second, "later", k=1) == ["later"]
    assert found(second, "cat1", k=1) == ["cat1"]
    assert len(watched.documents) == 12


def test_vectors_of_two_scenarios_never_mix(watched, store):
    first, second = open_search(watched, store), open_search(watched, store, "convsearch")
    first.add([entry("a cat")])
    second.add([entry("a dog")])
    for search, scenario in ((first, "qa"), (second, "convsearch")):
        hits = search.search(["a cat"], 5)[0]
        assert {hit.item.id for hit in hits} == {"a cat", "a dog"}
        expected = WordEncoder().encode_documents([hit.item.id for hit in hits], scenario)
        assert np.allclose(search.vectors([hit.item for hit in hits]), expected, atol=1e-6)
        query = WordEncoder().encode_queries(["a cat"], scenario)[0]
        assert np.allclose([hit.score for hit in hits], expected @ query, atol=1e-6)


def test_items_whose_first_encoding_failed_are_encoded_at_the_next_search(watched, store):
    first, second = open_search(watched, store), open_search(watched, store, "convsearch")
    first.add([entry("a cat")])
    watched.failure = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        second.search(["cat"], 5)
    watched.failure = None
    assert found(second, "cat") == ["a cat"]


def test_missing_vectors_are_committed_block_by_block(watched, store, monkeypatch):
    monkeypatch.setattr("rag_embedder.search._ENCODED_AT_ONCE", 4)
    first, second = open_search(watched, store), open_search(watched, store, "convsearch")
    first.add([entry(f"cat{n}") for n in range(10)])
    watched.documents.clear()
    calls = []
    watched.spoil = lambda vectors: calls.append(len(vectors)) or vectors
    assert len(found(second, "cat", k=20)) == 10
    assert calls == [4, 4, 2]


def test_word_statistics_are_kept_while_only_others_write(watched, store):
    search = open_search(watched, store)
    search.add([entry("a cat", scope="ann"), entry("a dog", scope="bob")])
    assert found(search, "cat", mode="lexical", scope="ann") == ["a cat"]
    index = search._lexical.index("ann")
    search.add([entry("cat cat cat", scope="bob")])
    assert found(search, "cat", mode="lexical", scope="ann") == ["a cat"]
    assert search._lexical.index("ann") is index
    search.add([entry("cat", scope="ann")])
    assert found(search, "cat", mode="lexical", scope="ann") == ["a cat", "cat"]
    assert search._lexical.index("ann") is not index


def test_word_indexes_of_many_scopes_do_not_pile_up(watched, store):
    search = open_search(watched, store)
    search.add([entry("a cat", scope=f"user{n}") for n in range(80)])
    for n in range(80):
        assert found(search, "cat", mode="lexical", scope=f"user{n}") == ["a cat"]
    assert len(search._lexical._built) == 64
    assert "user79" in search._lexical._built
    assert "user0" not in search._lexical._built


def test_scores_and_vectors_of_a_deleted_item_are_zero(watched, store):
    search = open_search(watched, store)
    search.add([entry("a cat"), entry("a dog")])
    items = [hit.item for hit in search.search(["a dog"], 2)[0]]
    assert [item.id for item in items] == ["a dog", "a cat"]
    store.delete("passage", "", ["a dog"])
    assert search.scores("a dog", items)[0] == 0.0
    assert search.scores("a dog", items)[1] == pytest.approx(search.search(["a dog"], 1)[0][0].score, abs=1e-6)
    assert search.scores("a dog", []) == []


def test_a_closed_search_says_so_even_if_the_store_is_open(watched, store):
    search = open_search(watched, store)
    search.add([entry("a cat")])
    assert found(search, "cat") == ["a cat"]
    search.close()
    search.close()
    with pytest.raises(StoreClosedError, match="closed; open it again"):
        search.search(["cat"], 5)


def test_threads_that_add_the_same_entry_leave_one(watched, store):
    search = open_search(watched, store)
    threads = [threading.Thread(target=search.add, args=[[entry("a cat")]]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count("passage") == 1
    assert found(search, "a cat") == ["a cat"]
