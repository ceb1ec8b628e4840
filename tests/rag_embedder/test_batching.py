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
