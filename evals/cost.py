"""What each system takes, measured on one sample. The systems take turns, so that a busy machine is fair to them."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from evals.records import Cost, EvaluationSet
from evals.systems import System

DOCUMENTS = 256
QUERIES = 40
ROUNDS = 3

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def sample_of(evaluation_set: EvaluationSet) -> EvaluationSet:
    """Documents and queries spread evenly over a set, searched together."""
    documents = [replace(document, metadata={}) for document in _spread(evaluation_set.documents, DOCUMENTS)]
    queries = [replace(query, within=None) for query in _spread(evaluation_set.queries, QUERIES)]
    return replace(evaluation_set, documents=documents, queries=queries)


def measure_costs(systems: Sequence[System], sample: EvaluationSet, *, rounds: int = ROUNDS) -> dict[str, Cost]:
    """Medians over rounds of documents per second, percentiles of one query at a time, and sizes, by system.

    A query's time is from its text to its ranking, encoding included.
    """
    speeds: dict[str, list[float]] = {system.name: [] for system in systems}
    latencies: dict[str, list[float]] = {system.name: [] for system in systems}
    sizes: dict[str, float] = {}
    peaks: dict[str, int | None] = {}
    for number in range(rounds + 1):  # the first is for warming up
        for system in systems:
            _forget_peak()
            start = time.perf_counter()
            index = system.index(sample, use_cache=False)
            seconds = time.perf_counter() - start
            for query in sample.queries:
                start = time.perf_counter()
                index.search([query], 10)
                if number:
                    latencies[system.name].append(time.perf_counter() - start)
            if number:
                speeds[system.name].append(len(sample.documents) / max(seconds, 1e-9))
            sizes[system.name] = index.num_bytes / len(sample.documents)
            peaks[system.name] = _peak()
    return {
        system.name: Cost(
            documents_per_second=float(np.median(speeds[system.name])) if sizes[system.name] else None,
            query_p50_ms=1000 * float(np.percentile(latencies[system.name], 50)),
            query_p99_ms=1000 * float(np.percentile(latencies[system.name], 99)),
            index_bytes_per_document=sizes[system.name],
            peak_memory_bytes=peaks[system.name],
        )
        for system in systems
    }


def _spread(items: Sequence, count: int) -> list:
    if len(items) <= count:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, count)]


def _forget_peak() -> None:
    # Linux: makes the peak start again from what is resident now.
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return


def _peak() -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return 1024 * kilobytes[0] if kilobytes else None
