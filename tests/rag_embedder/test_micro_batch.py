import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rag_embedder.micro_batch import MicroBatcher


class Model:
    """Answers each list of ids with their sum; counts calls, and holds the first one until it is let go."""

    def __init__(self, *, fails_on=None):
        self.sizes = []
        self.started = threading.Event()
        self.go_on = threading.Event()
        self._fails_on = fails_on

    def __call__(self, token_ids):
        self.sizes.append(len(token_ids))
        self.started.set()
        assert self.go_on.wait(10)
        if any(self._fails_on in ids for ids in token_ids):
            raise RuntimeError("the model broke")
        return np.array([[sum(ids)] for ids in token_ids], dtype=np.float32)


def run_while_busy(model, requests):
    """Futures of `requests`: the first has the model while all the others are waiting."""
    batcher = MicroBatcher(model)
    pool = ThreadPoolExecutor(len(requests))
    futures = [pool.submit(batcher.run, requests[0])]
    assert model.started.wait(10)
    futures += [pool.submit(batcher.run, request) for request in requests[1:]]
    while len(batcher._waiting) < len(requests) - 1:
        threading.Event().wait(0.001)
    model.go_on.set()
    pool.shutdown()
    return futures


def test_calls_that_wait_are_answered_by_one_pass():
    model = Model()
    requests = [[[n], [n, 100]] for n in range(16)]
    futures = run_while_busy(model, requests)
    assert model.sizes == [2, 30]
    assert [future.result().tolist() for future in futures] == [[[n], [n + 100]] for n in range(16)]


def test_a_lone_call_runs_at_once():
    model = Model()
    model.go_on.set()
    batcher = MicroBatcher(model)
    assert batcher.run([[1, 2]]).tolist() == [[3]]
    assert batcher.run([[5]]).tolist() == [[5]]
    assert model.sizes == [1, 1]


def test_an_error_reaches_every_caller_of_its_pass_and_no_other():
    model = Model(fails_on=13)
    futures = run_while_busy(model, [[[1]], [[2]], [[13]], [[3]]])
    assert futures[0].result().tolist() == [[1]]
    for future in futures[1:]:
        with pytest.raises(RuntimeError, match=r"the model broke"):
            future.result()


def test_the_model_can_be_used_after_an_error():
    model = Model(fails_on=13)
    model.go_on.set()
    batcher = MicroBatcher(model)
    with pytest.raises(RuntimeError, match=r"the model broke"):
        batcher.run([[13]])
    assert batcher.run([[4]]).tolist() == [[4]]


def test_an_interrupted_pass_does_not_leave_the_others_waiting():
    def interrupt(token_ids):
        raise KeyboardInterrupt

    batcher = MicroBatcher(interrupt)
    with pytest.raises(KeyboardInterrupt):
        batcher.run([[1]])
    assert batcher._model_lock.acquire(timeout=1)
