"""Time of one search in each index: `python benchmarks/index_latency.py [ROWS ...]`.

384 dimensions, clustered unit vectors, one query at a time, k = 10, both cores. Prints median and 99th percentile in
milliseconds, recall@10 against `flat`, and the seconds that building took. `FaissSettings.hnsw_above` was chosen by it.
"""

import sys
import time

import numpy as np

from rag_embedder.index import IndexPlace, IndexSettings
from rag_embedder.index.faiss import FaissSettings
from rag_embedder.index.flat import FlatSettings
from rag_embedder.types import Vectors

DIM = 384
NUM_QUERIES = 100
NEVER = 10**9
CHOICES: dict[str, IndexSettings] = {
    "flat": FlatSettings(),
    "faiss exact": FaissSettings(hnsw_above=NEVER),
    "faiss graph": FaissSettings(hnsw_above=1),
}


def clustered(count: int, seed: int) -> Vectors:
    """Unit rows (count, DIM) around 1,000 centres, the spread inside a cluster as large as between centres."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((1000, DIM), np.float32)
    vectors = centres[generator.integers(1000, size=count)] + generator.standard_normal((count, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def main(sizes: list[int]) -> None:
    """Print one line for each size and index."""
    queries = clustered(NUM_QUERIES, seed=2)
    print(f"{'rows':>8}  {'index':12} {'p50 ms':>8} {'p99 ms':>8} {'recall@10':>9} {'build s':>8}")
    for rows in sizes:
        vectors, numbers = clustered(rows, seed=1), np.arange(rows)
        truth: list[set[int]] = []
        for name, settings in CHOICES.items():
            index = settings.open(IndexPlace(DIM, None, "benchmark", 1, "benchmark", lambda: 0, lambda: 0))
            started = time.perf_counter()
            index.add(numbers, vectors)
            built = time.perf_counter() - started
            times, found = [], []
            for query in queries:
                started = time.perf_counter()
                (neighbours,) = index.search(query[None], 10)
                times.append(1000 * (time.perf_counter() - started))
                found.append(set(neighbours.numbers.tolist()))
            truth = truth or found
            recall = sum(len(a & b) for a, b in zip(truth, found, strict=True)) / (10 * NUM_QUERIES)
            p50, p99 = np.percentile(times, [50, 99])
            print(f"{rows:>8}  {name:12} {p50:>8.2f} {p99:>8.2f} {recall:>9.3f} {built:>8.1f}", flush=True)
            index.close()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [10_000, 50_000])
