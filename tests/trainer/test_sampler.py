"""The sampler: homogeneous, disjoint, complete, mixed by size, and a function of seed, step and rank."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_embedder.errors import ConfigError, InputError
from trainer.sampler import Batch, HomogeneousSampler, seeded_order


@st.composite
def cases(draw):
    """Sizes, rows per rank and number of ranks such that every data set fills a batch."""
    batch_size = draw(st.integers(1, 4))
    world_size = draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True))
    least = batch_size * world_size
    sizes = {name: draw(st.integers(least, least * 5)) for name in names}
    return sizes, batch_size, world_size, draw(st.integers(0, 2**40))


def round_of(sampler, world_size, nth=0):
    """Per step of a round, the batch of every rank."""
    steps = sampler.steps_per_round(world_size)
    return [
        [sampler.batch_at(step, rank=rank, world_size=world_size) for rank in range(world_size)]
        for step in range(nth * steps, (nth + 1) * steps)
    ]


@settings(deadline=None)
@given(cases())
def test_the_ranks_of_a_step_share_a_data_set_and_no_row(case):
    sizes, batch_size, world_size, seed = case
    for batches in round_of(HomogeneousSampler(sizes, batch_size=batch_size, seed=seed), world_size):
        assert len({(batch.dataset, batch.epoch) for batch in batches}) == 1
        rows = [row for batch in batches for row in batch.rows]
        assert len(set(rows)) == len(rows) == batch_size * world_size
        assert set(rows) <= set(range(sizes[batches[0].dataset]))


@settings(deadline=None)
@given(cases(), st.integers(0, 3))
def test_a_round_covers_each_data_set_once_up_to_the_remainder(case, nth):
    sizes, batch_size, world_size, seed = case
    sampler = HomogeneousSampler(sizes, batch_size=batch_size, seed=seed)
    rows = Counter()
    for batches in round_of(sampler, world_size, nth):
        for batch in batches:
            assert batch.epoch == nth
            rows.update((batch.dataset, row) for row in batch.rows)
    assert set(rows.values()) == {1}
    batch_rows = batch_size * world_size
    assert Counter(name for name, _ in rows) == {name: size - size % batch_rows for name, size in sizes.items()}


@settings(deadline=None)
@given(cases(), st.data())
def test_any_step_is_the_same_for_a_sampler_that_starts_there(case, data):
    sizes, batch_size, world_size, seed = case
    sampler = HomogeneousSampler(sizes, batch_size=batch_size, seed=seed)
    step = data.draw(st.integers(0, 3 * sampler.steps_per_round(world_size)))
    rank = data.draw(st.integers(0, world_size - 1))
    for before in range(step):
        sampler.batch_at(before, rank=rank, world_size=world_size)
    backwards = dict(reversed(sizes.items()))
    fresh = HomogeneousSampler(backwards, batch_size=batch_size, seed=seed)
    assert fresh.batch_at(step, rank=rank, world_size=world_size) == sampler.batch_at(
        step, rank=rank, world_size=world_size
    )


@settings(deadline=None)
@given(cases(), st.integers(0, 20))
def test_ranks_together_have_the_rows_of_one_process_with_the_joined_batch(case, step):
    sizes, batch_size, world_size, seed = case
    many = HomogeneousSampler(sizes, batch_size=batch_size, seed=seed)
    one = HomogeneousSampler(sizes, batch_size=batch_size * world_size, seed=seed)
    joined = [row for rank in range(world_size) for row in many.batch_at(step, rank=rank, world_size=world_size).rows]
    assert list(one.batch_at(step).rows) == joined


def test_another_epoch_and_another_seed_have_another_order():
    sampler = HomogeneousSampler({"qa": 100, "tool": 100}, batch_size=5, seed=1)
    other = HomogeneousSampler({"qa": 100, "tool": 100}, batch_size=5, seed=2)
    rounds = [[sampler.batch_at(step) for step in range(40 * nth, 40 * nth + 40)] for nth in range(2)]
    rounds.append([other.batch_at(step) for step in range(40)])
    for name in ("qa", "tool"):
        orders = [[row for batch in each if batch.dataset == name for row in batch.rows] for each in rounds]
        assert [sorted(order) for order in orders] == [list(range(100))] * 3
        assert len({tuple(order) for order in orders}) == 3
    assert len({tuple(batch.dataset for batch in each) for each in rounds}) == 3


def test_data_sets_are_mixed_by_size_and_within_a_round():
    sampler = HomogeneousSampler({"large": 600, "small": 205}, batch_size=10, seed=0)
    names = [sampler.batch_at(step).dataset for step in range(80)]
    assert Counter(names) == {"large": 60, "small": 20}
    # Mixed: by chance the first half of a round has 10 of the 20, give or take three standard deviations.
    assert 4 <= Counter(names[:40])["small"] <= 16


def test_a_weight_repeats_a_data_set_within_a_round():
    sampler = HomogeneousSampler({"qa": 40, "tool": 20}, batch_size=4, seed=0, weights={"tool": 2.0})
    assert sampler.steps_per_round() == 20
    rows = Counter(
        (batch.dataset, row) for step in range(20) for batch in [sampler.batch_at(step)] for row in batch.rows
    )
    assert rows == {("qa", row): 1 for row in range(40)} | {("tool", row): 2 for row in range(20)}
    epochs = [batch.epoch for step in range(40) for batch in [sampler.batch_at(step)] if batch.dataset == "tool"]
    assert epochs == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5


def test_the_papers_mixture_takes_its_number_of_steps_per_pass():
    # arXiv 2310.07554, table 9, on 8 x 100 queries: 501 + 73 + 739 + 61 + 3 x 12 + 2 x 109 + 36.
    sizes = {"msmarco": 400_870, "nq": 58_622, "icl": 591_359, "chat": 48_925, "tool": 87_322, "qrecc": 29_596}
    sizes |= dict.fromkeys(("books", "arxiv", "code"), 10_000)
    sampler = HomogeneousSampler(sizes, batch_size=100, seed=42, weights={"tool": 2.0})
    assert sampler.steps_per_round(8) == 1664


def test_half_a_weight_takes_two_rounds_for_a_data_set():
    sampler = HomogeneousSampler({"qa": 40, "tool": 40}, batch_size=4, seed=0, weights={"tool": 0.5})
    batches = [sampler.batch_at(step) for step in range(30)]
    rows = [row for batch in batches if batch.dataset == "tool" for row in batch.rows]
    assert sorted(rows) == list(range(40))
    assert {batch.epoch for batch in batches if batch.dataset == "tool"} == {0}


def test_the_order_is_pinned():
    # Every machine and version must draw the same; if this changes, runs cannot be continued.
    assert seeded_order(8, 42, "rows", "qa", 0).tolist() == [4, 3, 1, 5, 2, 0, 6, 7]
    sampler = HomogeneousSampler({"qa": 4, "tool": 6}, batch_size=2, seed=42)
    assert [sampler.batch_at(step) for step in range(2)] == [
        Batch(dataset="qa", epoch=0, rows=(3, 1)),
        Batch(dataset="tool", epoch=0, rows=(5, 2)),
    ]


def test_every_order_is_as_likely_as_any_other():
    orders = Counter(tuple(seeded_order(3, seed)) for seed in range(6000))
    assert len(orders) == 6
    # 1000 each, standard deviation 29.
    assert all(abs(count - 1000) < 130 for count in orders.values())


def test_data_sets_that_fill_no_batch_are_all_named():
    sampler = HomogeneousSampler({"qa": 100, "tool": 15, "chat": 3}, batch_size=8, seed=0)
    with pytest.raises(ConfigError, match=r"8 x 2 processes = 16 rows: chat \(3 rows\), tool \(15 rows\); lower"):
        sampler.check(2)
    with pytest.raises(ConfigError, match=r"chat \(3 rows\);"):
        sampler.batch_at(0)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "weights", "expected"),
    [
        ({}, 1, None, "no data set"),
        ({"qa": 3}, 0, None, "batch_size is 0"),
        ({"qa": 3}, 1, {"qa": 0.0}, "data.qa.weight is 0.0"),
        ({"qa": 3}, 1, {"qa": float("nan")}, "data.qa.weight is nan"),
        ({"qa": 3}, 1, {"tool": 2.0}, "unknown data set in weights 'tool'; expected one of: qa"),
    ],
)
def test_what_cannot_be_sampled_is_refused(sizes, batch_size, weights, expected):
    with pytest.raises(ConfigError, match=expected):
        HomogeneousSampler(sizes, batch_size=batch_size, seed=0, weights=weights)


@pytest.mark.parametrize(("step", "rank", "world_size"), [(-1, 0, 1), (0, 1, 1), (0, -1, 2)])
def test_a_step_or_rank_that_does_not_exist_is_refused(step, rank, world_size):
    with pytest.raises(InputError, match="expected a step from 0"):
        HomogeneousSampler({"qa": 9}, batch_size=1, seed=0).batch_at(step, rank=rank, world_size=world_size)
