"""The fast paths are fast: ratios of CPU time inside one process, which other work on the machine hardly moves."""

import time

import numpy as np
import pytest
import torch

from rag_embedder.engine.packed import PackedEngine
from rag_embedder.engine.precision import cpu_has_bfloat16
from rag_embedder.engine.transformers import TransformersEngine
from rag_embedder.index import ranking, rows
from rag_embedder.index.exact import search_exactly
from rag_embedder.model_source import base_folder

ROUNDS = 5


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base():
    return base_folder()


def cpu_seconds(*calls):
    """The least of a few rounds for each call; they take turns."""
    turns = [[_seconds(call) for call in calls] for _ in range(1 + ROUNDS)][1:]
    return np.min(turns, axis=0)


def _seconds(call):
    started = time.thread_time()
    call()
    return time.thread_time() - started


def mixed_texts():
    """Twenty short texts and ten long ones, padded by the reference."""
    generator = np.random.default_rng(0)
    lengths = [*generator.integers(6, 20, 20), *generator.integers(60, 200, 10)]
    return [[101, *generator.integers(2000, 20000, length).tolist(), 102] for length in lengths]


def test_packed_float32_is_faster_than_the_reference(base, one_thread):
    reference, packed = (
        kind.load(base, pooling="mean", device="cpu", dtype="float32") for kind in (TransformersEngine, PackedEngine)
    )
    texts = mixed_texts()
    theirs, ours = cpu_seconds(lambda: reference.encode(texts), lambda: packed.encode(texts))
    assert theirs / ours > 1.3  # measured: 3.7, most of it padding


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this processor has no instructions for bfloat16")
def test_packed_bfloat16_is_much_faster_than_float32(base, one_thread):
    half, exact = (PackedEngine.load(base, pooling="mean", device="cpu", dtype=dtype) for dtype in ("auto", "float32"))
    texts = mixed_texts()
    theirs, ours = cpu_seconds(lambda: exact.encode(texts), lambda: half.encode(texts))
    assert half.dtype == "bfloat16"
    assert theirs / ours > 1.7  # measured: 3.4


def test_exact_search_is_faster_than_one_pass_over_all_scores():
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((150_000, 32)).astype(np.float32)
    queries = generator.standard_normal((128, 32)).astype(np.float32)
    table, longest = rows.of(np.arange(len(vectors))), float(np.linalg.norm(vectors, axis=1).max())

    def one_pass():
        for query, scores in zip(queries, queries @ vectors.T, strict=True):
            places = ranking.shortlist(scores, 10, ranking.margin(query, longest))
            ranking.rank(query, places, vectors[places], 10)

    theirs, ours = cpu_seconds(one_pass, lambda: search_exactly(queries, 10, table, vectors, longest))
    assert theirs / ours > 1.2  # measured: 1.7
