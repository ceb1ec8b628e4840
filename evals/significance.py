"""Is a difference more than chance? Paired randomisation tests and bootstrap intervals over queries.

Sources: Smucker, Allan and Carterette 2007 (comparison of significance tests for information retrieval evaluation);
Phipson and Smyth 2010, arXiv 1603.05766 (a p-value of random permutations is never zero); Efron and Tibshirani 1993,
chapter 13 (percentile intervals); Holm 1979 (several comparisons).

Queries are what is drawn and flipped. Over several sets the statistic is the mean of the sets' means, and queries are
drawn and flipped inside each set, so that a large set does not outweigh a small one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_embedder.errors import InputError

RESAMPLES = 10_000
_EXACT_UP_TO = 16
"""Differing queries up to which all sign patterns are counted, 65,536 at most."""
_BLOCK = 2_000_000
"""Numbers that are drawn at a time: 16 MB."""
_MANY_EQUAL = 40
"""Queries to a distinct value from which counts of values are drawn faster than queries."""
_CONFIDENCE = 0.95

Floats = NDArray[np.float64]
ByQuery = Mapping[str, float]
"""Query id -> value, higher is better."""
BySet = Mapping[str, ByQuery]
"""Key of a set -> the values of its queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """System a against system b on the same queries.

    `difference` is mean(a) - mean(b), [low, high] its 95 % bootstrap interval, `p_value` two-sided. Of `n` queries, a
    is better in `wins`, equal in `ties`, worse in `losses`; for a value of which less is better, read wins as losses.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    wins: int
    ties: int
    losses: int


def compare(a: ByQuery, b: ByQuery, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Compare two systems on one set.

    The p-value is exact if at most 16 queries differ; otherwise it is (c + 1) / (resamples + 1), with c random sign
    patterns whose mean difference is as large as the one observed. The order of the mappings does not matter.

    Raises:
        InputError: if the queries are not the same, there is none, or a value is not finite.
    """
    return compare_sets({"": a}, {"": b}, seed=seed, resamples=resamples)


def compare_sets(a: BySet, b: BySet, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Compare two systems over several sets, such as all of a scenario: the mean over sets of the means over queries.

    Raises:
        InputError: if the sets or their queries are not the same, there is none, or a value is not finite.
    """
    if a.keys() != b.keys() or not a:
        raise InputError(f"{len(a)} sets on one side, {len(b)} on the other; expected the same ones, at least one.")
    differences = [_differences(key, a[key], b[key]) for key in sorted(a)]
    whole = np.concatenate(differences)
    means = _bootstrap_mean(differences, np.random.default_rng([seed, 1]), resamples)
    low, high = _percentiles(means)
    return Comparison(
        difference=float(np.mean([each.mean() for each in differences])),
        low=low,
        high=high,
        p_value=_p_value(differences, np.random.default_rng([seed, 2]), resamples),
        n=len(whole),
        wins=int(np.sum(whole > 0)),
        ties=int(np.sum(whole == 0)),
        losses=int(np.sum(whole < 0)),
    )


def interval(values: ByQuery, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean over queries with its 95 % bootstrap interval.

    Raises:
        InputError: if there is no query, or a value is not finite.
    """
    return interval_of_sets({"": values}, seed=seed, resamples=resamples)


def interval_of_sets(values: BySet, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean over sets of the means over queries, with its 95 % bootstrap interval.

    Raises:
        InputError: if there is no set, a set has no query, or a value is not finite.
    """
    if not values:
        raise InputError("no set; expected at least one.")
    arrays = [_array(key, values[key]) for key in sorted(values)]
    low, high = _percentiles(_bootstrap_mean(arrays, np.random.default_rng([seed, 1]), resamples))
    return Interval(mean=float(np.mean([array.mean() for array in arrays])), low=low, high=high)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values of several systems against one baseline, adjusted (Holm 1979) so that they may be read together.

    The chance that any of them falls below 0.05 without a real difference is at most 0.05. Keys and order are kept.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _array(key: str, values: ByQuery) -> Floats:
    """Values in the order of query ids, so that the same seed draws the same queries."""
    array = np.array([values[query] for query in sorted(values)], dtype=np.float64)
    if not len(array) or not np.isfinite(array).all():
        where = f"set {key!r}: " if key else ""
        raise InputError(f"{where}no query, or a value that is not finite; expected at least one finite value.")
    return array


def _differences(key: str, a: ByQuery, b: ByQuery) -> Floats:
    if a.keys() != b.keys():
        where = f"set {key!r}: " if key else ""
        raise InputError(f"{where}{len(a.keys() ^ b.keys())} queries have a value of one system only; expected both.")
    differences = _array(key, a) - _array(key, b)
    differences[np.abs(differences) < 1e-12] = 0.0  # the same value, reached by another order of summation
    return differences


def _bootstrap_mean(sets: list[Floats], generator: np.random.Generator, resamples: int) -> Floats:
    """Mean over sets of the means of resampled queries: (resamples,)."""
    return np.mean([np.concatenate(list(_resampled(values, generator, resamples))) for values in sets], axis=0)


def _resampled(values: Floats, generator: np.random.Generator, resamples: int) -> Iterator[Floats]:
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) * _MANY_EQUAL < len(values):  # drawing how often each value comes is the same, and faster
        yield generator.multinomial(len(values), counts / len(values), size=resamples) @ distinct / len(values)
        return
    for count in _blocks(resamples, len(values)):
        drawn = generator.integers(0, len(values), size=(count, len(values)))
        yield values.take(drawn).mean(axis=1)


def _percentiles(means: Floats) -> tuple[float, float]:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _p_value(differences: list[Floats], generator: np.random.Generator, resamples: int) -> float:
    """Share of sign patterns whose statistic is at least as far from 0 as the observed one, which is their sum."""
    weighted = np.concatenate([each / (len(differences) * len(each)) for each in differences])
    weighted = weighted[weighted != 0]  # without a difference a sign changes nothing
    if not len(weighted):
        return 1.0
    # Patterns that tie with the observed one must count, whatever the order in which they were summed.
    threshold = abs(float(weighted.sum())) - 1e-9 * float(np.abs(weighted).sum())
    if len(weighted) <= _EXACT_UP_TO:
        patterns = np.arange(2 ** len(weighted))[:, None] >> np.arange(len(weighted)) & 1
        return float(np.mean(_is_extreme(patterns, weighted, threshold)))
    extreme = sum(
        int(np.sum(_is_extreme(_random_bits(generator, count, len(weighted)), weighted, threshold)))
        for count in _blocks(resamples, len(weighted))
    )
    return (extreme + 1) / (resamples + 1)


def _is_extreme(bits: NDArray[np.integer], weighted: Floats, threshold: float) -> NDArray[np.bool_]:
    """Whether each pattern, where a 1 turns the sign, reaches the threshold; `bits` has one pattern a row."""
    return np.abs(weighted.sum() - 2.0 * (bits @ weighted)) >= threshold


def _random_bits(generator: np.random.Generator, rows: int, columns: int) -> NDArray[np.uint8]:
    packed = np.frombuffer(generator.bytes(rows * ((columns + 7) // 8)), dtype=np.uint8)
    return np.unpackbits(packed.reshape(rows, -1), axis=1, count=columns)


def _blocks(resamples: int, width: int) -> Iterator[int]:
    """How many resamples to draw at a time: `resamples` in all."""
    step = max(1, _BLOCK // width)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)
