from hypothesis import given
from hypothesis import strategies as st

from rag_embedder.batching import plan_batches

LENGTHS = st.lists(st.integers(0, 600), max_size=80)


def test_long_texts_come_first_and_short_ones_share_a_batch():
    assert plan_batches([3, 9, 2, 10], max_tokens=20) == [[3, 1], [0, 2]]


def test_equal_lengths_keep_their_order():
    assert plan_batches([4, 4, 4], max_tokens=8) == [[0, 1], [2]]


def test_a_text_longer_than_the_bound_is_a_batch_of_its_own():
    assert plan_batches([100, 1, 1], max_tokens=10) == [[0], [1, 2]]


def test_without_padding_a_batch_costs_the_sum_of_its_lengths():
    assert plan_batches([3, 9, 2, 10], max_tokens=20, pads=False) == [[3, 1], [0, 2]]
    assert plan_batches([9, 5, 3, 2, 1], max_tokens=11, pads=False) == [[0], [1, 2, 3, 4]]
    assert plan_batches([30, 1], max_tokens=11, pads=False) == [[0], [1]]


def test_only_padded_batches_are_bounded_in_texts_too():
    assert [len(batch) for batch in plan_batches([1] * 300, max_tokens=1000)] == [256, 44]
    assert [len(batch) for batch in plan_batches([1] * 300, max_tokens=1000, pads=False)] == [300]
    assert [len(batch) for batch in plan_batches([0] * 30, max_tokens=20, pads=False)] == [20, 10]


def test_no_texts_are_no_batches():
    assert plan_batches([], max_tokens=10) == []


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 9))
def test_every_text_is_in_exactly_one_batch_within_the_bounds(lengths, max_tokens, max_texts):
    batches = plan_batches(lengths, max_tokens=max_tokens, max_texts=max_texts)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[position] for position in batch)
        assert len(batch) <= max_texts
        assert len(batch) == 1 or len(batch) * longest <= max_tokens


@given(LENGTHS, st.integers(1, 2000))
def test_unpadded_batches_hold_every_text_and_are_as_full_as_they_can_be(lengths, max_tokens):
    batches = plan_batches(lengths, max_tokens=max_tokens, pads=False)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    costs = [sum(max(1, lengths[position]) for position in batch) for batch in batches]
    assert all(len(batch) == 1 or cost <= max_tokens for batch, cost in zip(batches, costs, strict=True))
    for cost, following in zip(costs, batches[1:], strict=False):
        assert cost + max(1, lengths[following[0]]) > max_tokens
