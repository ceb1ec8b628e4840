"""Exact and approximate search for a batch: `python -m benchmarks.search_throughput [ROWS ...] [--threads 1]`.

384 dimensions, clustered unit vectors, 512 queries, k = 10. Our back-ends beside chromadb's HNSW, one product over all
rows in numpy, and faiss's own exact index, which takes another path for calls of fewer queries. All take turns; queries
per second are medians, recall@10 is against `flat`.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.index_latency import DIM, NEVER, clustered
from benchmarks.provenance import provenance
from rag_embedder.index import IndexPlace, IndexSettings
from rag_embedder.index.faiss import FaissSettings
from rag_embedder.index.flat import FlatSettings
from rag_embedder.types import Vectors

K = 10
NUM_QUERIES = 512
BATCH = 5000
"""Rows that chromadb takes at once."""

Search = Callable[[Vectors], list[set[int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="*", default=[100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    rows = [row for size in arguments.rows for row in measure(size, rounds=arguments.rounds, threads=arguments.threads)]
    for row in rows:
        print(
            f"{row['rows']:>9,} {row['index']:<32} {row['queries_per_s']:>9,.1f} queries/s  "
            f"recall@10 {row['recall']:.3f}  built in {row['build_s']:.1f} s"
        )
    print(json.dumps({"rows": rows, **provenance("numpy", "faiss-cpu", "chromadb")}))


def measure(size: int, *, rounds: int, threads: int) -> list[dict[str, Any]]:
    """One row for each index over `size` vectors; threads are those of faiss, BLAS has those of OMP_NUM_THREADS."""
    import faiss

    faiss.omp_set_num_threads(threads)
    vectors, queries = clustered(size, seed=1), clustered(NUM_QUERIES, seed=2)
    built: dict[str, tuple[Search, float]] = {}
    for name, build in BUILDERS.items():
        started = time.perf_counter()
        search = build(vectors)
        built[name] = search, time.perf_counter() - started
    times: dict[str, list[float]] = {name: [] for name in built}
    found: dict[str, list[set[int]]] = {}
    for _ in range(rounds):
        for name, (search, _) in built.items():
            started = time.perf_counter()
            found[name] = search(queries)
            times[name].append(time.perf_counter() - started)
    truth = found["flat"]
    return [
        {
            "rows": size,
            "index": name,
            "queries_per_s": round(len(queries) / statistics.median(times[name]), 1),
            "recall": sum(len(a & b) for a, b in zip(truth, found[name], strict=True)) / (K * len(queries)),
            "build_s": round(seconds, 2),
            "threads": int(os.environ.get("OMP_NUM_THREADS", threads)),
        }
        for name, (_, seconds) in built.items()
    ]


def _ours(settings: IndexSettings, vectors: Vectors) -> Search:
    index = settings.open(IndexPlace(DIM, None, "benchmark", 1, "benchmark", lambda: 0, lambda: 0))
    index.add(np.arange(len(vectors)), vectors)
    return lambda queries: [set(each.numbers.tolist()) for each in index.search(queries, K)]


def _faiss_flat(vectors: Vectors, at_once: int) -> Search:
    import faiss

    index: Any = faiss.IndexFlatIP(DIM)
    index.add(vectors)

    def search(queries: Vectors) -> list[set[int]]:
        parts = [queries[start : start + at_once] for start in range(0, len(queries), at_once)]
        return [set(row.tolist()) for part in parts for row in index.search(part, K)[1]]

    return search


def _one_product(vectors: Vectors) -> Search:
    def search(queries: Vectors) -> list[set[int]]:
        step = max(1, 16_000_000 // len(vectors))
        parts = [queries[start : start + step] @ vectors.T for start in range(0, len(queries), step)]
        return [set(np.argpartition(-row, K)[:K].tolist()) for part in parts for row in part]

    return search


def _chroma(vectors: Vectors) -> Search:
    import chromadb

    collection = chromadb.EphemeralClient().get_or_create_collection(
        f"rows-{len(vectors)}", configuration={"hnsw": {"space": "ip"}}
    )
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH]
        collection.add(ids=[str(start + row) for row in range(len(part))], embeddings=part)

    def search(queries: Vectors) -> list[set[int]]:
        answer = collection.query(query_embeddings=queries, n_results=K, include=[])
        return [set(map(int, ids)) for ids in answer["ids"]]

    return search


BUILDERS: dict[str, Callable[[Vectors], Search]] = {
    "flat": lambda vectors: _ours(FlatSettings(), vectors),
    "faiss (ours), exact": lambda vectors: _ours(FaissSettings(hnsw_above=NEVER), vectors),
    "faiss (ours), graph": lambda vectors: _ours(FaissSettings(hnsw_above=1), vectors),
    "faiss IndexFlatIP, 256 a call": lambda vectors: _faiss_flat(vectors, 256),
    "faiss IndexFlatIP, 512 a call": lambda vectors: _faiss_flat(vectors, 512),
    "numpy, one product": _one_product,
    "chromadb HNSW": _chroma,
}


if __name__ == "__main__":
    main()
