import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import rag_embedder
from rag_embedder.errors import StoreForkedError, StoreFullError
from rag_embedder.index.catch_up import open_index
from rag_embedder.index.faiss import FaissSettings
from rag_embedder.store import START, Store
from tests.rag_embedder import kill_child

SOURCES = str(Path(rag_embedder.__file__).parents[1])
TIME_LIMIT = 30.0


@contextmanager
def child_writing(folder, log, seed, num_operations=1_000_000, prefix="p"):
    """A running kill_child, gone at the end of the block."""
    words = [sys.executable, kill_child.__file__, folder, log, seed, num_operations, prefix]
    with open(f"{log}.errors", "ab") as errors:
        child = subprocess.Popen(
            [str(word) for word in words], env={**os.environ, "PYTHONPATH": SOURCES}, stderr=errors
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def errors_of(log):
    return Path(f"{log}.errors").read_text()


def read_log(log):
    # The last line may be cut by the kill.
    lines = Path(log).read_bytes().split(b"\n")[:-1] if Path(log).exists() else []
    return [json.loads(line) for line in lines]


def wait_for_start(child, log, times):
    deadline = time.monotonic() + TIME_LIMIT
    while sum(line[0] == "start" for line in read_log(log)) < times:
        assert child.poll() is None, errors_of(log)
        assert time.monotonic() < deadline
        time.sleep(0.005)


def after(state, kind, ids, operation):
    """The state {id: operation that wrote it} after one operation."""
    kept = {each: writer for each, writer in state.items() if each not in ids}
    return kept if kind == "delete" else {**kept, **dict.fromkeys(ids, operation)}


def found_in(store):
    """{id: operation}, with every entry seen to be whole."""
    found = {}
    for item in store.iter_items("passage"):
        assert found.setdefault(item.id, item.payload["operation"]) == item.payload["operation"]
        assert store.part("passage", "", item.id, kill_child.num_parts(item.id) - 1) is not None
    return found


def check_index(store):
    """The FAISS index equals brute force over the vectors that the operations gave."""
    space = kill_child.open_space(store)
    items = list(store.iter_items("passage"))
    index, _ = open_index(FaissSettings(), store, space)
    assert index.numbers().tolist() == [item.n for item in items]
    if items:
        rows = np.array([kill_child.vector_of(item.payload["operation"], item.id, item.part) for item in items])
        query = rows[len(rows) // 2]
        scores = rows.astype(np.float64) @ query.astype(np.float64)
        best = np.argsort(-scores, kind="stable")[:5]
        (found,) = index.search(query[None], 5)
        assert found.numbers.tolist() == [items[place].n for place in best]
        np.testing.assert_allclose(found.scores, scores[best], atol=1e-6)
    index.close()


def run_kills(tmp_path, rounds, seed):
    """Kill a writer `rounds` times on one folder; returns the number of answered operations."""
    folder, log = tmp_path / "kb", tmp_path / "log"
    generator = random.Random(seed)
    state, num_seen, num_answered = {}, 0, 0
    for turn in range(1, rounds + 1):
        with child_writing(folder, log, turn) as child:
            wait_for_start(child, log, turn)
            time.sleep(generator.uniform(0, 0.25))
        assert child.returncode == -signal.SIGKILL, errors_of(log)
        lines = read_log(log)
        answered = {line[1] for line in lines if line[0] == "answer"}
        open_end = None
        for line in lines[num_seen:]:
            if line[0] == "intent" and line[1] in answered:
                state, num_answered = after(state, line[2], line[3], line[1]), num_answered + 1
            elif line[0] == "intent":
                open_end = line
        num_seen = len(lines)
        with Store.open(folder) as store:
            found = found_in(store)
            # Without an answer both outcomes are right, but only as a whole.
            allowed = [state] if open_end is None else [state, after(state, open_end[2], open_end[3], open_end[1])]
            assert found in allowed, f"seed {seed}, round {turn}"
            state = found
            check_index(store)
            if turn % 10 == 0:
                assert store.verify() == []
    return num_answered


def test_kills_at_any_moment_lose_nothing_that_was_answered(tmp_path):
    assert run_kills(tmp_path, rounds=8, seed=1) >= 4  # some got through between the kills, also on a busy machine


@pytest.mark.slow
def test_a_hundred_kills_on_one_folder_lose_nothing_that_was_answered(tmp_path):
    assert run_kills(tmp_path, rounds=100, seed=2) > 100


def test_two_writing_processes_lose_nothing_of_each_other(tmp_path):
    folder = tmp_path / "kb"
    with (
        child_writing(folder, tmp_path / "x", 1, 60, "x") as one,
        child_writing(folder, tmp_path / "y", 2, 60, "y") as two,
    ):
        assert one.wait(TIME_LIMIT) == 0, errors_of(tmp_path / "x")
        assert two.wait(TIME_LIMIT) == 0, errors_of(tmp_path / "y")
    expected = {}
    for prefix in "xy":
        for line in read_log(tmp_path / prefix):
            if line[0] == "intent":
                expected = after(expected, line[2], line[3], line[1])
    with Store.open(folder) as store:
        assert found_in(store) == expected
        check_index(store)
        assert store.verify() == []


def test_a_reading_process_sees_whole_batches_only(tmp_path):
    log, seen = tmp_path / "log", set()
    with child_writing(tmp_path / "kb", log, 1) as child, Store.open(tmp_path / "kb") as store:
        wait_for_start(child, log, 1)
        space = kill_child.open_space(store)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            seen.add(frozenset(map(bytes, store.changes(space, START).vectors)))
    # Every vector follows from its operation and id, so the vectors say exactly which state was read.
    state, whole_states = {}, {frozenset()}
    for line in read_log(log):
        if line[0] == "intent":
            state = after(state, line[2], line[3], line[1])
            whole_states.add(
                frozenset(
                    bytes(kill_child.vector_of(writer, each, part))
                    for each, writer in state.items()
                    for part in range(kill_child.num_parts(each))
                )
            )
    assert len(seen) > 3
    assert seen <= whole_states


@pytest.fixture
def file_limit():
    """Sets the largest size of any file, in bytes; undone at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)


def test_a_full_disk_adds_nothing_and_the_store_goes_on(tmp_path, file_limit):
    with Store.open(tmp_path / "kb") as store:
        space = kill_child.open_space(store)
        kill_child.put(store, space, 1, ["a", "b"])
        before = found_in(store)
        file_limit(400_000)
        with pytest.raises(StoreFullError, match="Nothing was added"):
            kill_child.put(store, space, 2, [f"x{i}" for i in range(10_000)])
        assert found_in(store) == before
        file_limit(None)
        kill_child.put(store, space, 3, ["a"])
        assert store.delete("passage", "", ["b"]) == 1
        after_space_returned = found_in(store)
        assert after_space_returned["a"] == 3
        assert store.verify() == []
    with Store.open(tmp_path / "kb") as store:
        assert found_in(store) == after_space_returned
        check_index(store)


def test_a_full_disk_while_saving_the_cache_keeps_the_old_one_or_none(tmp_path, file_limit):
    with Store.open(tmp_path / "kb") as store:
        space = kill_child.open_space(store)
        kill_child.put(store, space, 1, [f"x{i}" for i in range(3000)])
        index, _ = open_index(FaissSettings(), store, space)
        file_limit(50_000)
        with pytest.raises(StoreFullError):
            index.save()
        file_limit(None)
        assert list((tmp_path / "kb" / "cache" / "faiss-1").glob("*.safetensors*")) == []
        index.save()
        index.close()
        check_index(store)


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_any_failing_file_operation_while_saving_leaves_a_right_index(tmp_path, monkeypatch, name):
    real = getattr(os, name)
    with Store.open(tmp_path / "kb") as store:
        space = kill_child.open_space(store)
        for fail_at in range(1, 20):
            kill_child.put(store, space, fail_at, ["a", f"b{fail_at}"])
            index, _ = open_index(FaissSettings(), store, space)
            calls = iter(range(1, 100))

            def failing(*words, calls=calls, fail_at=fail_at):
                if next(calls) == fail_at:
                    raise OSError(28, "No space left on device")
                return real(*words)

            monkeypatch.setattr(os, name, failing)
            try:
                index.save()
            except StoreFullError:
                finished = False
            else:
                finished = True
            monkeypatch.setattr(os, name, real)
            check_index(store)
            if finished:
                break
        assert finished
        assert fail_at > 1


def test_a_forked_child_is_told_at_once_and_the_parent_goes_on(tmp_path):
    store = Store.open(tmp_path / "kb")
    space = kill_child.open_space(store)
    kill_child.put(store, space, 1, ["a"])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for call in (store.clock, store.spaces, lambda: store.delete("passage", "", ["a"])):
            started = time.monotonic()
            try:
                call()
            except StoreForkedError:
                said.append(time.monotonic() - started < 1.0)
        store.close()
        del store
        with Store.open(tmp_path / "kb") as reopened:
            said.append(reopened.count("passage") == 1)
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        assert json.loads(pipe.read()) == [True, True, True, True]
    kill_child.put(store, space, 2, ["b"])
    assert found_in(store) == {"a": 1, "b": 2}
    store.close()
