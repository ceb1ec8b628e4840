import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_embedder.errors import ConfigError
from rag_embedder.index import INDEXES, IndexPlace, ranking, resolve_index, rows
from rag_embedder.index.flat import FlatIndex, FlatSettings
from rag_embedder.index.read_write_lock import ReadWriteLock


def unit(count, dim=8, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_equal_rows_score_equally_wherever_they_stand():
    vectors = np.tile(unit(1, 384), (9001, 1))
    assert len(np.unique(ranking.exact_scores(unit(1, 384, 1)[0], vectors))) == 1


def test_rank_orders_by_score_then_number():
    vectors = np.array([[0, 1], [1, 0], [0, 1], [0.6, 0.8]], np.float32)
    found = ranking.rank(np.array([0, 1], np.float32), np.array([9, 4, 3, 7]), vectors, 3)
    assert found.numbers.tolist() == [3, 9, 7]
    assert found.scores.tolist() == [1.0, 1.0, np.float32(0.8)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(1, 14), st.integers(0, 12))
def test_merging_two_answers_is_ranking_the_whole(values, k, cut):
    vectors = np.array([[value] for value in values], np.float32).reshape(-1, 1)
    numbers, query = np.arange(len(values)), np.ones(1, np.float32)
    parts = [ranking.rank(query, numbers[piece], vectors[piece], k) for piece in (slice(cut), slice(cut, None))]
    merged, whole = ranking.merge(*parts, k), ranking.rank(query, numbers, vectors, k)
    assert merged.numbers.tolist() == whole.numbers.tolist()
    assert merged.scores.tolist() == whole.scores.tolist()


def test_the_margin_covers_the_error_of_float32():
    for dim in (16, 384, 1024):
        vectors, query = unit(2000, dim), unit(1, dim, 1)[0]
        error = np.abs((vectors @ query) - vectors.astype(np.float64) @ query.astype(np.float64)).max()
        assert error <= ranking.margin(query, 1.0) / 2
        assert ranking.margin(query, 1.0) < 1e-3


def test_a_shortlist_keeps_all_that_may_tie_and_nothing_dead():
    approximate = np.array([0.9, 0.5, 0.5 - 1e-6, 0.1, -np.inf], np.float32)
    assert ranking.shortlist(approximate, 2, 1e-5).tolist() == [0, 1, 2]
    assert ranking.shortlist(approximate, 2, 1e-8).tolist() == [0, 1]
    assert ranking.shortlist(approximate, 5, 1e-5).tolist() == [0, 1, 2, 3]


def test_rows_find_places_in_any_order_of_numbers():
    table = rows.joined(rows.joined(rows.empty(), np.array([5, 9])), np.array([2, 7]))
    assert table.places_of(np.array([1, 2, 5, 8, 9])).tolist() == [0, 1, 2]
    less = table.without(np.array([1]))
    assert less.live_numbers().tolist() == [2, 5, 7]
    assert less.places_of(np.array([9])).tolist() == []
    assert (less.num_alive, less.num_dead, table.num_dead) == (3, 1, 0)


def test_adding_a_row_does_not_copy_the_index():
    index = FlatIndex(8)
    index.add(np.arange(1000), unit(1000))
    index.add(np.array([1000]), unit(1, seed=1))
    before = index._room
    for n in range(1001, 1400):
        index.add(np.array([n]), unit(1, seed=n))
    assert index._room is before
    assert len(index.numbers()) == 1400
    (found,) = index.search(unit(1, seed=1399), 1)
    assert found.numbers.tolist() == [1399]


def test_a_snapshot_taken_before_a_change_stays_as_it_was():
    index = FlatIndex(8)
    index.add(np.arange(10), unit(10))
    snapshot = index._now
    copy = snapshot.vectors.copy()
    index.remove(np.array([3]))
    index.add(np.array([10]), unit(1, seed=1))
    assert snapshot.rows.live_numbers().tolist() == list(range(10))
    assert (snapshot.vectors == copy).all()


def test_a_waiting_writer_goes_before_new_readers():
    import threading

    lock, order = ReadWriteLock(), []
    inside, writer_done = threading.Event(), threading.Event()

    def write():
        inside.set()
        with lock.writing():
            order.append("writer")
        writer_done.set()

    def read():
        with lock.reading():
            order.append("reader")

    with lock.reading():
        writer = threading.Thread(target=write)
        writer.start()
        inside.wait()
        while not lock._writers_waiting:
            pass
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(0.05)
        assert order == []
    writer.join()
    reader.join()
    assert order == ["writer", "reader"]


def test_names_and_settings_resolve_and_others_are_refused():
    assert list(INDEXES) == ["flat", "faiss", "chroma"]
    assert resolve_index("flat") == FlatSettings()
    with pytest.raises(ConfigError, match="Did you mean 'faiss'"):
        resolve_index("fais")
    with pytest.raises(ConfigError, match="got int"):
        resolve_index(3)  # pyright: ignore
    assert isinstance(FlatSettings().open(IndexPlace(8, None, "s", 1, "f", lambda: 0, lambda: 0)), FlatIndex)
