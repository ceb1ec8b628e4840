"""Which of the ranked candidates to show: the most relevant, the least alike, or every label in turn."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from rag_embedder.search import Found
from rag_embedder.types import Vectors


def by_relevance(candidates: Sequence[Found], k: int) -> list[Found]:
    """The first `k`."""
    return list(candidates[:k])


def by_label(candidates: Sequence[Found], k: int, *, label: Callable[[Found], str]) -> list[Found]:
    """The best of every label, then the second best of every label, and so on; each round best first."""
    rounds: defaultdict[str, int] = defaultdict(int)
    keyed = []
    for position, candidate in enumerate(candidates):
        name = label(candidate)
        keyed.append((rounds[name], position, candidate))
        rounds[name] += 1
    return [candidate for _, _, candidate in sorted(keyed, key=lambda entry: entry[:2])[:k]]


def marginal_relevance(
    candidates: Sequence[Found], k: int, *, vectors: Vectors, relevance_weight: float = 0.7
) -> list[Found]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Takes, one at a time, the candidate with the largest
    weight * score - (1 - weight) * (largest cosine with one already taken).

    Args:
        candidates: best first.
        k: how many to take.
        vectors: unit rows of the candidates, shape (n, dim).
        relevance_weight: the paper's lambda.
    """
    scores = np.array([candidate.score for candidate in candidates])
    nearest = np.zeros(len(candidates))
    left = np.ones(len(candidates), dtype=bool)
    taken: list[Found] = []
    while left.any() and len(taken) < k:
        gain = relevance_weight * scores - (1 - relevance_weight) * nearest
        choice = int(np.argmax(np.where(left, gain, -np.inf)))
        taken.append(candidates[choice])
        left[choice] = False
        nearest = np.maximum(nearest if len(taken) > 1 else -np.inf, vectors @ vectors[choice])
    return taken
