"""What all five retrievers promise alike, each run with the default index."""

import asyncio
import random
import threading
import time

import numpy as np
import pytest

from rag_embedder.errors import (
    ConfigError,
    DuplicateIdError,
    InputError,
    InvalidTextError,
    ModelMismatchError,
    StoreClosedError,
    VectorError,
)
from tests.retriever_cases import CASES, TEXTS, Case, Watched, WordEncoder, entry_id

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
MODES = ("dense", "lexical", "hybrid")


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def retriever(case: Case, watched):
    with case.open(watched) as opened:
        yield opened


def ids(hits):
    return [entry_id(hit) for hit in hits]


def answers(case, retriever, mode=None):
    """Ids and scores for every text, and for one that was not added."""
    return [
        [(hit.id, hit.score, hit.rank) for hit in case.retrieve(retriever, text, 4, mode=mode)]
        for text in TEXTS.values()
    ]


def test_a_real_encoder_finds_each_item_by_its_own_text(case, embedder):
    with case.open(embedder) as retriever:
        case.add(retriever, TEXTS)
        for id_, text in TEXTS.items():
            hits = case.retrieve(retriever, text, k=3)
            assert ids(hits)[0] == id_
            assert isinstance(hits[0].item, case.item_type)
            assert [hit.rank for hit in hits] == [1, 2, 3]
            assert hits[0].score >= hits[1].score >= hits[2].score
            assert -1.0001 <= hits[2].score <= hits[0].score <= 1.0001


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_finds_each_item_by_its_own_text(case, retriever, mode):
    case.add(retriever, TEXTS)
    for id_, text in TEXTS.items():
        assert ids(case.retrieve(retriever, text, k=2, mode=mode))[0] == id_


def test_ties_come_in_order_of_addition_every_time(case, retriever):
    if case.kind in ("demonstration", "tool"):
        pytest.skip("no two of these have one text: repetitions count once, and a tool's name is part of its text")
    case.add(retriever, {"id3": "same text", "id1": "same text", "id2": "same text"})
    for mode in MODES:
        assert ids(case.retrieve(retriever, "same text", mode=mode)) == ["id3", "id1", "id2"]


def test_one_add_counts_and_encodes_every_item_once(case, retriever, watched):
    assert case.add(retriever, TEXTS) == list(TEXTS)
    assert len(retriever) == len(TEXTS)
    assert len(watched.documents) == len(TEXTS)


def test_unchanged_items_are_not_encoded_again_and_changed_ones_replace(case, retriever, watched):
    case.add(retriever, TEXTS)
    watched.documents.clear()
    case.add(retriever, {**TEXTS, "cat": "a red bird"})
    assert len(watched.documents) == 1
    assert "a red bird" in watched.documents[0]
    assert len(retriever) == len(TEXTS)
    assert ids(case.retrieve(retriever, "a red bird"))[0] == "cat"
    lexical = case.retrieve(retriever, "blue green tree", mode="lexical")
    assert "cat" not in ids(lexical)


def test_deleted_items_are_never_found_again(case, retriever):
    case.add(retriever, TEXTS)
    assert case.delete(retriever, ["cat", "music", "never added", "cat"]) == 2
    assert case.delete(retriever, ["cat"]) == 0
    assert len(retriever) == len(TEXTS) - 2
    for mode in MODES:
        found = {id_ for text in TEXTS.values() for id_ in ids(case.retrieve(retriever, text, 10, mode=mode))}
        assert found <= TEXTS.keys() - {"cat", "music"}
        assert "rain" in found


@pytest.mark.parametrize("wrong", ["cat", 5, None, ["cat", 5], b"cat"])
def test_delete_refuses_what_is_no_list_of_ids(case, retriever, wrong):
    case.add(retriever, TEXTS)
    with pytest.raises(InvalidTextError, match=r"ids|names"):
        case.delete(retriever, wrong)
    assert len(retriever) == len(TEXTS)


@pytest.mark.parametrize("mode", MODES)
def test_a_reopened_path_gives_the_same_hits(case, watched, tmp_path, mode):
    with case.open(watched, path=tmp_path / "store", mode=mode) as first:
        case.add(first, TEXTS)
        case.delete(first, ["fire"])
        before = answers(case, first)
    watched.documents.clear()
    with case.open(watched, path=tmp_path / "store", mode=mode) as second:
        assert len(second) == len(TEXTS) - 1
        assert answers(case, second) == before
        assert second.path == tmp_path / "store"
    assert watched.documents == []


def test_two_handles_of_one_path_see_each_others_changes(case, watched, tmp_path):
    with case.open(watched, path=tmp_path / "s") as one, case.open(watched, path=tmp_path / "s", index="flat") as two:
        case.add(one, TEXTS)
        assert ids(case.retrieve(two, TEXTS["cat"]))[0] == "cat"
        case.delete(two, ["cat"])
        for mode in MODES:
            assert "cat" not in ids(case.retrieve(one, TEXTS["cat"], 10, mode=mode))


def test_use_after_close_says_so_and_costs_no_pass_through_the_model(case, watched):
    retriever = case.open(watched)
    case.add(retriever, TEXTS)
    retriever.close()
    retriever.close()
    watched.documents.clear()
    uses = [
        lambda: case.retrieve(retriever, "cat"),
        lambda: case.retrieve(retriever, "cat", mode="lexical"),
        lambda: case.retrieve(retriever, ""),
        lambda: case.add(retriever, {"new": "text"}),
        lambda: case.delete(retriever, ["cat"]),
        lambda: len(retriever),
        lambda: asyncio.run(retriever.aretrieve(case.ask("cat"), **case.options)),
    ]
    for use in uses:
        with pytest.raises(StoreClosedError, match="closed; open it again"):
            use()
    assert watched.documents == watched.queries == []


def test_closing_in_the_middle_of_a_search_never_finds_nothing(case, watched):
    for _ in range(5):
        retriever = case.open(watched)
        case.add(retriever, TEXTS)
        outcomes = []

        def search(retriever=retriever, outcomes=outcomes):
            try:
                while True:
                    outcomes.append(ids(case.retrieve(retriever, TEXTS["cat"], 1)))
            except StoreClosedError:
                outcomes.append("closed")

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.01)
        retriever.close()
        for thread in threads:
            thread.join(10)
        assert outcomes.count("closed") == 4
        assert all(outcome in (["cat"], "closed") for outcome in outcomes)


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "5", None, 2_000_000_000, float("nan")])
@pytest.mark.parametrize("query", ["cat", ""])
def test_k_outside_its_bounds_is_refused_whatever_the_query(case, retriever, k, query):
    case.add(retriever, {"cat": TEXTS["cat"]})
    with pytest.raises(InputError, match=r"k: got .*; expected an int from 1 to 10000"):
        case.retrieve(retriever, query, k)


@pytest.mark.parametrize("k", [7, 10_000, np.int64(100)])
def test_more_than_there_is_gives_all_there_is(case, retriever, k):
    case.add(retriever, TEXTS)
    for mode in ("dense", "hybrid"):
        hits = case.retrieve(retriever, TEXTS["cat"], k, mode=mode)
        assert sorted(ids(hits)) == sorted(TEXTS)
        assert [hit.rank for hit in hits] == list(range(1, 7))


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_retriever_finds_nothing(case, retriever, mode):
    assert len(retriever) == 0
    assert case.retrieve(retriever, "cat", mode=mode) == []
    case.add(retriever, TEXTS)
    case.delete(retriever, list(TEXTS))
    assert len(retriever) == 0
    assert case.retrieve(retriever, "cat", mode=mode) == []


@pytest.mark.parametrize("query", ["", "   ", "\n\t", "\u200b\ufeff", "\x00"])
def test_an_empty_query_finds_nothing(case, retriever, watched, query):
    case.add(retriever, TEXTS)
    assert case.retrieve(retriever, query) == []
    assert watched.queries == []


@pytest.mark.parametrize("query", [None, 5, 1.5, b"cat", {"text": "cat"}, {"cat"}, "half \ud83d of a pair"])
def test_a_query_that_is_no_text_is_refused(case, retriever, query):
    case.add(retriever, TEXTS)
    expected = InputError if case.name == "conversation" and isinstance(query, dict | set) else InvalidTextError
    with pytest.raises(expected, match="expected"):
        case.retrieve(retriever, query)


@pytest.mark.parametrize(
    "query", ["[SEP] [CLS]", "a" * 5000, "' OR 1=1 --", "猫 🐈\u200d⬛ हिन्दी", "\x00cat", "?!", "the"]
)
@pytest.mark.parametrize("mode", MODES)
def test_odd_queries_are_only_text(case, retriever, query, mode):
    case.add(retriever, TEXTS)
    assert len(case.retrieve(retriever, query, 3, mode=mode)) <= 3
    assert len(retriever) == len(TEXTS)


@pytest.mark.parametrize("mode", ["", "Dense", "hibrid", 5, ["dense"]])
def test_an_unknown_mode_is_refused_with_the_known_ones(case, retriever, watched, mode):
    for query in ("cat", ""):
        with pytest.raises(ConfigError, match="expected one of: dense, hybrid, lexical"):
            case.retrieve(retriever, query, mode=mode)
    with pytest.raises(ConfigError, match="unknown mode"):
        case.open(watched, mode=mode)


def test_unknown_names_are_refused_with_the_nearest(case, watched):
    with pytest.raises(ConfigError, match="Did you mean 'faiss'"):
        case.open(watched, index="fais")
    with pytest.raises(ConfigError, match=r"embedder: got str; expected an Embedder, such as Embedder\.load\(\)"):
        case.open("kb")


def test_an_embedder_that_fails_adds_nothing(case, retriever, watched):
    case.add(retriever, {"cat": TEXTS["cat"]})
    watched.failure = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        case.add(retriever, {"cat": "changed", "rain": TEXTS["rain"]})
    assert len(retriever) == 1
    assert ids(case.retrieve(retriever, TEXTS["cat"], mode="lexical")) == ["cat"]
    watched.failure = None
    case.add(retriever, TEXTS)
    assert len(retriever) == len(TEXTS)


@pytest.mark.parametrize("spoil", ["one row less", "NaN", "other dimension"])
def test_vectors_that_cannot_be_right_add_nothing(case, retriever, watched, spoil):
    watched.spoil = {
        "one row less": lambda vectors: vectors[:-1],
        "NaN": lambda vectors: np.where(np.arange(vectors.shape[1]) == 3, np.nan, vectors),
        "other dimension": lambda vectors: vectors[:, :-1],
    }[spoil]
    with pytest.raises(VectorError, match="expected"):
        case.add(retriever, TEXTS)
    assert len(retriever) == 0
    assert case.retrieve(retriever, "cat") == []


def test_a_bad_item_is_named_and_keeps_all_others_out(case, retriever, watched):
    with pytest.raises(InputError) as caught:
        case.add(retriever, {"first": "good text", "x" * 600: "its id is too long"})
    assert "512" in str(caught.value) or "400" in str(caught.value) or "256" in str(caught.value)
    assert "good text" not in str(caught.value)
    if case.name != "memory":  # a memory is one text for each call
        assert len(retriever) == 0
        assert watched.documents == []


def test_ids_are_only_names(case, retriever):
    names = ["../x", "CON", "a b", "'; DROP TABLE item", "日本", "%", "_", "#0", "x" * 200]
    case.add(retriever, {name: f"word{position} cat" for position, name in enumerate(names)})
    for position, name in enumerate(names):
        assert ids(case.retrieve(retriever, f"word{position}", 1, mode="lexical")) == [name]
    assert case.delete(retriever, ["%"]) == 1
    assert len(retriever) == len(names) - 1


def test_one_id_twice_in_a_call_is_refused_with_both_positions(case, retriever):
    if case.name == "memory":
        pytest.skip("a memory is one text for each call")
    doubled = dict(TEXTS)

    class Twice(dict):
        def items(self):
            return [*doubled.items(), ("cat", "again")]

    with pytest.raises(DuplicateIdError, match=r"'cat' occurs at 1 and at 6"):
        case.add(retriever, Twice())
    assert len(retriever) == 0


@pytest.mark.parametrize("wrong", [None, 5, "text", b"text", {"text": "x"}])
def test_add_refuses_what_is_no_list(case, retriever, wrong):
    add = getattr(retriever, "add", None) or (lambda turns: retriever.add_turns(turns, user="ann"))
    with pytest.raises(InputError, match="expected a list of"):
        add(wrong)


def test_batches_equal_single_calls_in_any_mode(case, retriever):
    case.add(retriever, TEXTS)
    queries = [TEXTS["cat"], "", "snow and water", TEXTS["cat"], "nothing here"]
    for mode in MODES:
        batch = retriever.retrieve_batch((case.ask(query) for query in queries), 3, mode=mode, **case.options)
        assert batch == [case.retrieve(retriever, query, 3, mode=mode) for query in queries]
        assert batch[1] == []
    assert retriever.retrieve_batch([], **case.options) == []


@pytest.mark.parametrize("wrong", ["cat", b"cat", None, 5])
def test_a_batch_that_is_no_list_is_refused(case, retriever, wrong):
    with pytest.raises(InvalidTextError, match="expected a list of"):
        retriever.retrieve_batch(wrong, **case.options)


def test_the_loop_ticks_while_a_slow_search_runs(case, retriever, watched):
    case.add(retriever, TEXTS)
    watched.seconds = 0.3

    async def main():
        gaps = []

        async def tick():
            last = time.perf_counter()
            while True:
                await asyncio.sleep(0.005)
                now = time.perf_counter()
                gaps.append(now - last)
                last = now

        ticker = asyncio.create_task(tick())
        hits = await retriever.aretrieve(case.ask(TEXTS["cat"]), 3, **case.options)
        ticker.cancel()
        return hits, gaps

    hits, gaps = asyncio.run(main())
    watched.seconds = 0.0
    assert hits == case.retrieve(retriever, TEXTS["cat"], 3)
    assert len(gaps) > 20
    assert sorted(gaps)[int(len(gaps) * 0.9)] < 0.1


def test_concurrent_searches_share_passes_through_the_model(case, embedder, monkeypatch):
    with case.open(embedder) as retriever:
        case.add(retriever, TEXTS)
        queries = [f"{text} {number}" for number in range(3) for text in TEXTS.values()][:16]
        expected = [case.retrieve(retriever, query, 3) for query in queries]
        calls = []
        encode = embedder._engine.encode

        def slow(batch):
            calls.append(len(batch))
            time.sleep(0.05)
            return encode(batch)

        monkeypatch.setattr(embedder._engine, "encode", slow)

        async def main():
            tasks = [retriever.aretrieve(case.ask(query), 3, **case.options) for query in queries]
            return await asyncio.gather(*tasks)

        results = asyncio.run(main())
    assert sum(calls) >= 16
    # The first is encoded alone, the others wait for it and go together: far fewer passes than queries, also on a
    # machine that is slow to start the threads. A memory is looked for in two scenarios, so in 32 ways.
    assert len(calls) <= (20 if case.name == "memory" else 10)
    for hits, alone in zip(results, expected, strict=True):
        assert [hit.id for hit in hits] == [hit.id for hit in alone]
        assert np.allclose([hit.score for hit in hits], [hit.score for hit in alone], atol=1e-5)


def test_cancelled_adds_and_searches_leave_whole_calls(case, watched):
    watched.seconds = 0.01
    chooser = random.Random(7)
    with case.open(watched) as retriever:

        async def main():
            for round_ in range(8):
                batch = {f"{round_}-{part}": f"round{round_} part{part}" for part in range(3)}
                if case.name == "memory":
                    batch = {f"{round_}-0": "one text of one call"}
                task = asyncio.create_task(asyncio.to_thread(case.add, retriever, batch))
                search = asyncio.create_task(retriever.aretrieve(case.ask("round part"), **case.options))
                await asyncio.sleep(chooser.uniform(0, 0.015))
                task.cancel()
                search.cancel()
                await asyncio.gather(task, search, return_exceptions=True)
            await asyncio.sleep(0.1)  # threads cannot be stopped: what was begun may still commit

        asyncio.run(main())
        watched.seconds = 0.0
        for round_ in range(8):
            parts = [f"{round_}-{part}" for part in range(3)]
            assert case.delete(retriever, parts) in ((0, 1) if case.name == "memory" else (0, 3))


def test_eight_threads_find_what_was_added_while_one_adds(case, watched):
    acknowledged = []
    failures = []
    done = threading.Event()
    with case.open(watched) as retriever:

        def read(seed):
            chooser = random.Random(seed)
            try:
                while not done.is_set():
                    if acknowledged:
                        id_ = chooser.choice(acknowledged)
                        hits = case.retrieve(retriever, f"word{id_}", 2, mode=chooser.choice(MODES[:1] * 3 + MODES))
                        assert ids(hits)[0] == id_
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        readers = [threading.Thread(target=read, args=[seed]) for seed in range(8)]
        for reader in readers:
            reader.start()
        for number in range(30):
            case.add(retriever, {f"n{number}": f"wordn{number}"})
            acknowledged.append(f"n{number}")
            if number % 5 == 4:
                case.delete(retriever, [f"unknown{number}"])
        done.set()
        for reader in readers:
            reader.join(20)
        assert failures == []
        assert len(retriever) == 30


def test_another_model_or_other_instructions_are_refused_naming_both(case, watched, tmp_path):
    with case.open(watched, path=tmp_path / "store") as first:
        case.add(first, TEXTS)
        before = answers(case, first)
    for other in (WordEncoder("other weights", name="other-model"), WordEncoder("other instructions")):
        with pytest.raises(ModelMismatchError) as caught:
            case.open(other, path=tmp_path / "store")
        message = str(caught.value)
        assert "'words'" in message
        assert f"'{other.name}'" in message
        assert other.fingerprint_of(_scenario(case))[:12] in message
        assert "Open the store with the first model" in message
    with case.open(watched, path=tmp_path / "store") as again:
        assert answers(case, again) == before


def _scenario(case):
    first_opened = {"knowledge": "qa", "conversation": "convsearch", "memory": "chat", "demonstrations": "icl"}
    return first_opened.get(case.name, "tool")


def test_context_manager_closes_also_after_an_error(case, watched):
    watched.failure = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"), case.open(watched) as retriever:
        case.add(retriever, {"cat": "cat"})
    with pytest.raises(StoreClosedError):
        len(retriever)


def test_results_do_not_depend_on_the_index(case, watched):
    found = []
    for index in ("flat", "faiss"):
        with case.open(watched, index=index) as retriever:
            case.add(retriever, {**TEXTS, **{f"extra{n}": f"{text} {n}" for n in range(5) for text in TEXTS.values()}})
            found.append([answers(case, retriever, mode) for mode in MODES])
    assert found[0] == found[1]
