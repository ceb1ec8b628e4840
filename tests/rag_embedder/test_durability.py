import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import kill_child
import numpy as np
import pytest

import rag_embedder
from rag_embedder.errors import StoreForkedError, StoreFullError
from rag_embedder.index.catch_up import open_index
from rag_embedder.index.faiss import FaissSettings
from rag_embedder.store import START, Store

SOURCES = str(Path(rag_embedder.__file__).parents[1])
TIME_LIMIT = 30.0


def start_child(folder, log, seed, num_operations=1_000_000, prefix="p"):
    words = [sys.executable, kill_child.__file__, folder, log, seed, num_operations, prefix]
    return subprocess.Popen(
        [str(word) for word in words], env={**os.environ, "PYTHONPATH": SOURCES}, stderr=subprocess.PIPE
    )


def read_log(log):
    # The last line may be cut by the kill.
    lines = Path(log).read_bytes().split(b"\n")[:-1] if Path(log).exists() else []
    return [json.loads(line) for line in lines]


def wait_for_start(child, log, times):
    deadline = time.monotonic() + TIME_LIMIT
    while sum(line[0] == "start" for line in read_log(log)) < times:
        assert child.poll() is None, child.stderr.read().decode()
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
        child = start_child(folder, log, turn)
        wait_for_start(child, log, turn)
        time.sleep(generator.uniform(0, 0.25))
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert child.returncode == -signal.SIGKILL, child.stderr.read().decode()
        child.stderr.close()
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
    assert run_kills(tmp_path, rounds=8, seed=1) > 20


@pytest.mark.slow
def test_a_hundred_kills_on_one_folder_lose_nothing_that_was_answered(tmp_path):
    assert run_kills(tmp_path, rounds=100, seed=2) > 500


def test_two_writing_processes_lose_nothing_of_each_other(tmp_path):
    children = [start_child(tmp_path / "kb", tmp_path / prefix, i + 1, 60, prefix) for i, prefix in enumerate("xy")]
    for child in children:
        _, errors = child.communicate(timeout=TIME_LIMIT)
        assert child.returncode == 0, errors.decode()
    expected = {}
    for prefix in "xy":
        for line in read_log(tmp_path / prefix):
            if line[0] == "intent":
                expected = after(expected, line[2], line[3], line[1])
    with Store.open(tmp_path / "kb") as store:
        assert found_in(store) == expected
        check_index(store)
        assert store.verify() == []


def test_a_reading_process_sees_whole_batches_only(tmp_path):
    child = start_child(tmp_path / "kb", tmp_path / "log", 1)
    wait_for_start(child, tmp_path / "log", 1)
    states = set()
    with Store.open(tmp_path / "kb") as store:
        space = kill_child.open_space(store)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            changes = store.changes(space, START)
            states.add(changes.position)
            # One state has either all rows of a batch that nobody replaced since, or none.
            for operation, ids in unreplaced_batches(read_log(tmp_path / "log"), store.items(changes.numbers)):
                assert ids == ids_of(tmp_path / "log", operation)
    child.kill()
    child.wait()
    child.stderr.close()
    assert len(states) > 3


def unreplaced_batches(lines, items):
    """Batches (operation, their ids found) that are the newest in `items`: nothing later can have replaced a part."""
    newest = max((item.payload["operation"] for item in items.values()), default=None)
    if newest is None:
        return []
    found = {item.id for item in items.values() if item.payload["operation"] == newest}
    later = {each for line in lines if line[0] == "intent" and line[1] > newest for each in line[3]}
    return [] if later & found or later else [(newest, found)]


def ids_of(log, operation):
    return next(set(line[3]) for line in read_log(log) if line[0] == "intent" and line[1] == operation)


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
            for start in range(100):
                kill_child.put(store, space, 2, [f"x{start}-{i}" for i in range(1000)])
                before = found_in(store)
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
                said.append(time.monotonic() - started < 0.1)
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
