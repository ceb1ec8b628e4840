"""Search block by block finds what looking at every score finds, ties and removed rows included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_embedder.index import exact, ranking, rows
from rag_embedder.index.exact import search_exactly

DIM = 6


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(exact, "_QUERIES", 3)
    monkeypatch.setattr(exact, "_SCORES", 21)  # 7 rows for 3 queries
    monkeypatch.setattr(exact, "_FIRST", 5)


def by_every_score(queries, k, table, vectors):
    alive = np.flatnonzero(table.alive)
    return [ranking.rank(query, table.numbers[alive], vectors[alive], k) for query in queries]


def check(queries, k, table, vectors):
    longest = float(np.linalg.norm(vectors, axis=1).max(initial=0.0))
    found = search_exactly(queries, k, table, vectors, longest)
    for one, other in zip(found, by_every_score(queries, k, table, vectors), strict=True):
        assert one.numbers.tolist() == other.numbers.tolist()
        assert one.scores.tolist() == other.scores.tolist()
    assert len(found) == len(queries)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 70), st.integers(0, 99), st.booleans())
def test_any_rows_queries_and_k(num_rows, num_queries, k, seed, is_coarse):
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((num_rows, DIM)).astype(np.float32)
    queries = generator.standard_normal((num_queries, DIM)).astype(np.float32)
    if is_coarse:  # many equal scores
        vectors, queries = np.round(vectors), np.round(queries)
    table = rows.of(generator.permutation(num_rows))
    check(queries, k, table.without(np.flatnonzero(generator.random(num_rows) < 0.3)), vectors)


def test_rows_that_get_better_and_better():
    vectors = np.linspace(0.1, 1, 50, dtype=np.float32)[:, np.newaxis] * np.ones((1, DIM), np.float32)
    queries = np.stack([np.ones(DIM), -np.ones(DIM), np.zeros(DIM)]).astype(np.float32)
    check(queries, 4, rows.of(np.arange(50)), vectors)


def test_a_first_block_without_a_live_row():
    vectors = np.random.default_rng(0).standard_normal((30, DIM)).astype(np.float32)
    check(vectors[:4], 2, rows.of(np.arange(30)).without(np.arange(14)), vectors)
    check(vectors[:1], 5, rows.of(np.arange(30)).without(np.arange(28)), vectors)


def test_of_later_blocks_hardly_a_row_is_kept(monkeypatch):
    monkeypatch.setattr(exact, "_SCORES", 3 * 500)
    monkeypatch.setattr(exact, "_FIRST", 500)
    kept = []
    add = exact._Shortlist.add
    monkeypatch.setattr(
        exact._Shortlist, "add", lambda self, columns, *rest: kept.append(len(columns)) or add(self, columns, *rest)
    )
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((5000, DIM)).astype(np.float32)
    check(generator.standard_normal((3, DIM)).astype(np.float32), 10, rows.of(np.arange(5000)), vectors)
    assert kept[:3] == [10, 10, 10]
    assert sum(kept[3:]) < 3 * 60  # of 4,500 rows: about 10 ln 10 for each query
