import math
from itertools import product
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from evals.significance import compare, compare_sets, holm, interval, interval_of_sets
from rag_embedder.errors import InputError


def by_query(values):
    return {f"q{n:04}": float(value) for n, value in enumerate(values)}


def random_pair(n, shift, seed=0):
    generator = np.random.default_rng(seed)
    a = generator.random(n)
    return a + shift, a + generator.normal(0, 0.3, n)


def test_three_wins_by_hand():
    # of 8 sign patterns only "all positive" and "all negative" reach the observed mean
    found = compare(by_query([1, 1, 1]), by_query([0, 0.5, 0]))
    assert found.difference == pytest.approx(2.5 / 3)
    assert found.p_value == 2 / 8
    assert (found.n, found.wins, found.ties, found.losses) == (3, 3, 0, 0)


def test_patterns_that_tie_with_the_observed_one_count():
    # differences 0.1, 0.2, -0.3 sum to 0: every pattern is at least as extreme
    assert compare(by_query([0.1, 0.2, 0.0]), by_query([0, 0, 0.3])).p_value == 1.0
    # 0.1, 0.2, 0.3, -0.1: all the same sign (0.7), or one 0.1 turned (0.5), and their mirror images
    sums = [0.1 * a + 0.2 * b + 0.3 * c + 0.1 * d for a, b, c, d in product((1, -1), repeat=4)]
    share = sum(abs(each) >= 0.5 - 1e-9 for each in sums) / 16
    assert compare(by_query([0.1, 0.2, 0.3, 0]), by_query([0, 0, 0, 0.1])).p_value == share == 6 / 16


def test_queries_without_a_difference_change_no_p_value():
    a, b = [1.0, 0.2, 0.7, 0.5], [0.3, 0.1, 0.4, 0.9]
    few, many = compare(by_query(a), by_query(b)), compare(by_query(a + [0.5] * 300), by_query(b + [0.5] * 300))
    assert few.p_value == many.p_value
    assert (many.ties, many.n) == (300, 304)


def test_equal_systems_do_not_differ():
    found = compare(by_query([0.5, 0.25]), by_query([0.5, 0.25]))
    assert (found.difference, found.low, found.high, found.p_value, found.ties) == (0.0, 0.0, 0.0, 1.0, 2)


def test_rounding_is_no_difference():
    assert compare(by_query([0.1 + 0.2]), by_query([0.3])).ties == 1


@pytest.mark.parametrize("n", [5, 12, 16])
def test_exact_p_values_equal_those_of_scipy(n):
    a, b = random_pair(n, 0.15)
    expected = stats.permutation_test((a - b,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert compare(by_query(a), by_query(b)).p_value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.09])
def test_sampled_p_values_are_near_those_of_a_t_test(shift):
    a, b = random_pair(150, shift, seed=4)
    expected = stats.ttest_rel(a, b).pvalue
    assert compare(by_query(a), by_query(b)).p_value == pytest.approx(expected, abs=0.02)


def test_a_sampled_p_value_is_never_zero():
    found = compare(by_query([1.0] * 50), by_query([0.0] * 50), resamples=999)
    assert found.p_value == 1 / 1000


def test_false_alarms_come_as_often_as_promised():
    alarms = 0
    for seed in range(300):
        difference = np.random.default_rng(seed).exponential(1.0, 24) - 1.0  # no difference, but skewed
        difference *= np.random.default_rng(seed + 1000).choice([-1.0, 1.0], 24)
        p_value = compare(by_query(difference), by_query([0.0] * 24), resamples=999).p_value
        alarms += p_value <= 0.05
    assert alarms <= stats.binom.ppf(0.999, 300, 0.05)
    assert alarms >= stats.binom.ppf(0.001, 300, 0.05)


def test_intervals_are_near_those_of_scipy():
    a, b = random_pair(120, 0.1, seed=2)
    found = compare(by_query(a), by_query(b))
    expected = stats.bootstrap(
        (a - b,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


@pytest.mark.parametrize("n", [60, 2000])  # the second draws counts of values instead of queries
def test_the_interval_of_a_share_is_near_that_of_the_normal_distribution(n):
    found = interval(by_query([1.0] * (n // 4) + [0.0] * (n - n // 4)))
    width = 1.96 * math.sqrt(0.25 * 0.75 / n)
    assert found.mean == 0.25
    assert (found.low, found.high) == pytest.approx((0.25 - width, 0.25 + width), abs=0.1 * width)


def test_a_large_set_does_not_outweigh_a_small_one():
    a = {"small": by_query([1.0, 0.0]), "large": by_query([0.2] * 98)}
    b = {"small": by_query([0.0, 0.0]), "large": by_query([0.1] * 98)}
    found = compare_sets(a, b)
    assert found.difference == pytest.approx((0.5 + 0.1) / 2)
    assert (found.n, found.wins, found.ties, found.losses) == (100, 99, 1, 0)
    # in the large set every resample is the same; in the small one the mean is 0, 0.5 or 1
    assert (found.low, found.high) == pytest.approx(((0 + 0.1) / 2, (1 + 0.1) / 2))
    assert interval_of_sets(a).mean == pytest.approx((0.5 + 0.2) / 2)


def test_signs_are_flipped_inside_each_set_by_its_weight():
    a = {"x": by_query([0.6, 0.1]), "y": by_query([0.3, 0.2, 0.5])}
    b = {"x": by_query([0.1, 0.4]), "y": by_query([0.0, 0.4, 0.1])}
    x, y = [0.5, -0.3], [0.3, -0.2, 0.4]
    observed = abs(fmean([fmean(x), fmean(y)]))
    extreme = 0
    for signs in product((1, -1), repeat=5):
        flipped = [sign * value for sign, value in zip(signs, x + y, strict=True)]
        extreme += abs(fmean([fmean(flipped[:2]), fmean(flipped[2:])])) >= observed - 1e-12
    assert compare_sets(a, b).p_value == extreme / 32


def test_one_set_alone_is_the_same_as_no_sets():
    a, b = map(by_query, random_pair(40, 0.1))
    assert compare_sets({"s": a}, {"s": b}) == compare(a, b)
    assert interval_of_sets({"s": a}) == interval(a)


def test_the_same_seed_gives_the_same_numbers_in_any_order_of_queries():
    a, b = map(by_query, random_pair(40, 0.1))
    shuffled = dict(reversed(a.items()))
    assert compare(a, b, seed=3) == compare(shuffled, b, seed=3)
    assert compare(a, b, seed=3) != compare(a, b, seed=4)
    assert interval(a) == interval(shuffled)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({}, {}),
        ({"q": 1.0}, {"r": 1.0}),
        ({"q": 1.0}, {}),
        ({"q": math.nan}, {"q": 1.0}),
        ({"q": 1.0}, {"q": math.inf}),
    ],
)
def test_values_that_cannot_be_compared_are_refused(a, b):
    with pytest.raises(InputError):
        compare(a, b)


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="1 sets on one side, 0 on the other"):
        compare_sets({"s": {"q": 1.0}}, {})
    with pytest.raises(InputError, match="set 's': 2 queries have a value of one system only"):
        compare_sets({"s": {"q": 1.0}}, {"s": {"r": 1.0}})
    with pytest.raises(InputError):
        interval_of_sets({})
    with pytest.raises(InputError):
        interval({})


def test_holm_multiplies_the_smallest_by_the_number_of_comparisons():
    adjusted = holm({"b": 0.04, "a": 0.01, "d": 0.5, "c": 0.03})
    assert adjusted == pytest.approx({"b": 0.09, "a": 0.04, "d": 0.5, "c": 0.09})
    assert list(adjusted) == ["b", "a", "d", "c"]
    assert holm({"x": 0.7, "y": 0.6}) == {"x": 1.0, "y": 1.0}
    assert holm({}) == {}
