"""Reciprocal rank fusion against sums worked out by hand."""

import numpy as np
import pytest

from rag_embedder.errors import InputError
from rag_embedder.fusion import reciprocal_rank_fusion
from rag_embedder.protocols import Neighbours


def ranking(*numbers: int) -> Neighbours:
    scores = np.linspace(1.0, 0.1, num=len(numbers), dtype=np.float32)
    return Neighbours(np.array(numbers, dtype=np.int64), scores)


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion([ranking(7, 3, 5), ranking(3, 9)], k=10)
    assert fused.numbers.tolist() == [3, 7, 9, 5]
    expected = [1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63]
    np.testing.assert_allclose(fused.scores, expected, rtol=1e-6)
    assert fused.numbers.dtype == np.int64
    assert fused.scores.dtype == np.float32


def test_k_keeps_only_the_best() -> None:
    fused = reciprocal_rank_fusion([ranking(7, 3, 5), ranking(3, 9)], k=2)
    assert fused.numbers.tolist() == [3, 7]


def test_ties_are_ordered_by_number() -> None:
    fused = reciprocal_rank_fusion([ranking(8, 2), ranking(2, 8)], k=5)
    assert fused.numbers.tolist() == [2, 8]
    assert fused.scores[0] == fused.scores[1]


def test_three_rankings_tie_whatever_their_order() -> None:
    # 1, 2 and 3 each stand at ranks 1, 2 and 3 once, but the shares are added in three different orders
    rankings = [ranking(3, 2, 1), ranking(1, 3, 2), ranking(2, 1, 3)]
    for constant in (0, 1, 7, 60):
        fused = reciprocal_rank_fusion(rankings, k=3, rank_constant=constant)
        assert fused.numbers.tolist() == [1, 2, 3]


def test_rank_constant_decides_how_much_the_first_rank_counts() -> None:
    # 1 is first once; 2 is second twice: 1/1 against 2/2 ties at constant 0, and 2 wins at 60
    rankings = [ranking(1, 2), ranking(9, 2)]
    assert reciprocal_rank_fusion(rankings, k=1, rank_constant=0).numbers.tolist() == [1]
    assert reciprocal_rank_fusion(rankings, k=1).numbers.tolist() == [2]


def test_nothing_in_gives_nothing_out() -> None:
    for rankings in ([], [ranking()], [ranking(), ranking()]):
        fused = reciprocal_rank_fusion(rankings, k=3)
        assert fused.numbers.tolist() == []
        assert fused.scores.shape == (0,)


def test_one_empty_ranking_changes_nothing() -> None:
    alone = reciprocal_rank_fusion([ranking(4, 1)], k=5)
    with_empty = reciprocal_rank_fusion([ranking(4, 1), ranking()], k=5)
    assert alone.numbers.tolist() == with_empty.numbers.tolist() == [4, 1]


@pytest.mark.parametrize(("k", "constant"), [(0, 60), (-1, 60), (3, -1)])
def test_impossible_sizes_are_refused(k: int, constant: int) -> None:
    with pytest.raises(InputError, match="expected"):
        reciprocal_rank_fusion([ranking(1)], k=k, rank_constant=constant)
