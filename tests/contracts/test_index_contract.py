"""What every index back-end must do, run over each line of INDEXES."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag_embedder.errors import InputError, StoreLockedError, VectorError
from rag_embedder.index import INDEXES, resolve_index
from rag_embedder.index.catch_up import open_index, refresh
from rag_embedder.store import START, NewEntry, NewPart, Store

DIM = 24


@pytest.fixture(scope="session")
def chroma_port(tmp_path_factory):
    """A Chroma server of our own on this machine, as long as the tests run."""
    pytest.importorskip("chromadb", reason="chromadb is not installed")
    program = shutil.which("chroma", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("the chroma server program is not installed beside this Python")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("chroma-server")
    words = [program, "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield port
        finally:
            server.kill()


def _wait_for(port, server):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the chroma server stopped"
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the chroma server does not answer")


@pytest.fixture(params=[*INDEXES, "chroma server"])
def settings(request):
    if request.param == "chroma server":
        return INDEXES["chroma"](host="127.0.0.1", port=request.getfixturevalue("chroma_port"))
    if request.param == "chroma":
        pytest.importorskip("chromadb", reason="chromadb is not installed")
    return resolve_index(request.param)


class Shelf:
    """A store with one space and an index over it."""

    def __init__(self, settings, path=None):
        self.settings = settings
        self.store = Store.open(path)
        self.space = self.store.open_space(kind="p", scenario="qa", fingerprint="f" * 64, model="toy", dim=DIM)
        self.index, self.position = open_index(settings, self.store, self.space)

    def put(self, ids, vectors):
        entries = [NewEntry(str(each), (NewPart({}),), "d") for each in ids]
        self.store.put("p", entries, space=self.space, vectors=vectors)
        self.refresh()

    def delete(self, ids):
        self.store.delete("p", "", [str(each) for each in ids])
        self.refresh()

    def refresh(self):
        self.position = refresh(self.index, self.store, self.space, self.position)

    def expected(self, query, k, allowed=None):
        """Numbers and scores by brute force in float64, ties by number."""
        changes = self.store.changes(self.space, START)
        numbers, vectors = changes.numbers, changes.vectors
        if allowed is not None:
            vectors, numbers = vectors[np.isin(numbers, allowed)], numbers[np.isin(numbers, allowed)]
        scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
        order = np.lexsort((numbers, -scores))[:k]
        return numbers[order].tolist(), scores[order].tolist()

    def check(self, queries, k=10, allowed=None):
        found = self.index.search(queries, k, allowed=allowed)
        assert len(found) == len(queries)
        for query, neighbours in zip(queries, found, strict=True):
            assert (neighbours.numbers.tolist(), neighbours.scores.tolist()) == self.expected(query, k, allowed)

    def close(self, save=True):
        if save:
            self.index.save()
        self.index.close()
        self.store.close()


@pytest.fixture(params=["memory", "disk"])
def shelf(request, settings, tmp_path):
    made = Shelf(settings, None if request.param == "memory" else tmp_path / "kb")
    yield made
    made.close()


def unit(count, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_answers_equal_brute_force(shelf):
    shelf.put(range(300), unit(300))
    for k in (1, 10, 299, 300, 5000):
        shelf.check(unit(7, seed=1), k)


def test_an_empty_index_finds_nothing(shelf):
    assert shelf.index.numbers().tolist() == []
    (found,) = shelf.index.search(unit(1), 5)
    assert (found.numbers.tolist(), found.scores.tolist()) == ([], [])
    assert found.numbers.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert shelf.index.search(unit(0), 5) == []
    shelf.put([1], unit(1))
    shelf.delete([1])
    assert shelf.index.search(unit(1), 5)[0].numbers.tolist() == []


def test_removed_rows_are_gone_and_come_back_under_new_numbers(shelf):
    vectors = unit(200)
    shelf.put(range(200), vectors)
    for start in range(0, 160, 20):
        shelf.delete(range(start, start + 20))
        shelf.check(unit(3, seed=2))
    assert shelf.index.numbers().tolist() == list(range(161, 201))
    shelf.put(range(30), vectors[:30])
    assert shelf.index.numbers().tolist() == [*range(161, 201), *range(201, 231)]
    shelf.check(vectors[:5], 60)
    shelf.index.remove(np.array([99999]))
    shelf.check(vectors[:5], 60)


def test_many_small_adds_equal_one_large_one(shelf):
    vectors = unit(120)
    for i in range(120):
        shelf.put([i], vectors[i : i + 1])
    shelf.check(unit(5, seed=3), 20)


def test_only_allowed_rows_are_ranked(shelf):
    shelf.put(range(300), unit(300))
    shelf.delete(range(10))
    for allowed in (np.array([300]), np.arange(5, 40), np.arange(1, 300, 2), np.array([], np.int64), np.array([10**9])):
        for k in (1, 10, 400):
            shelf.check(unit(3, seed=4), k, allowed)


def test_ties_are_ordered_by_number_and_none_is_left_out_of_order(shelf):
    vectors = unit(250)
    vectors[60:160] = vectors[60]
    shelf.put(range(250), vectors)
    for k in (1, 3, 10, 50, 99, 100, 101):
        (found,) = shelf.index.search(vectors[60:61], k)
        assert found.numbers[:100].tolist() == list(range(61, 61 + min(k, 100)))
        shelf.check(vectors[60:62], k)


def test_a_number_that_comes_late_finds_its_place(shelf):
    vectors = unit(4)
    shelf.index.add(np.array([5, 9]), vectors[:2])
    shelf.index.add(np.array([2]), vectors[2:3])
    shelf.index.remove(np.array([9]))
    shelf.index.add(np.array([3, 12]), unit(2, seed=8))
    assert shelf.index.numbers().tolist() == [2, 3, 5, 12]
    assert shelf.index.search(vectors[2:3], 1)[0].numbers.tolist() == [2]
    (found,) = shelf.index.search(vectors[1:2], 4, allowed=np.array([2, 5, 9]))
    assert sorted(found.numbers.tolist()) == [2, 5]


@pytest.mark.parametrize("k", [0, -1, 1.5, "5", True, 2_000_000_000, None])
def test_a_k_that_is_no_count_is_refused(shelf, k):
    shelf.put([1], unit(1))
    with pytest.raises(InputError, match="expected an integer from 1"):
        shelf.index.search(unit(1), k)


def test_vectors_that_do_not_fit_are_refused(shelf):
    shelf.put([1], unit(1))
    broken = unit(1).copy()
    broken[0, 3] = np.nan
    for bad in (unit(1)[:, :-1], unit(1)[0], broken):
        with pytest.raises(VectorError):
            shelf.index.search(bad, 1)
        with pytest.raises(VectorError):
            shelf.index.add(np.array([7]), bad)
    shelf.check(unit(1), 3)


def test_reopening_gives_the_same_answers_with_changes_made_meanwhile(settings, tmp_path):
    shelf = Shelf(settings, tmp_path / "kb")
    shelf.put(range(150), unit(150))
    shelf.close()
    other = Shelf(resolve_index("flat"), tmp_path / "kb")
    other.delete(range(20))
    other.put(range(100, 130), unit(30, seed=5))
    other.close()
    again = Shelf(settings, tmp_path / "kb")
    again.check(unit(5, seed=6), 200)
    again.close()


def cache_files(path):
    return sorted(each for each in (path / "cache").rglob("*") if each.is_file() and each.name != "lock")


def damage_each_cache_file(settings, path, damage):
    """Damage one cache file at a time and see that the answers stay right."""
    with Store.open(path) as store:
        assert store.verify() == []
    pristine = path.with_name("pristine")
    shutil.copytree(path, pristine)
    names = [each.relative_to(path) for each in cache_files(path)]
    for name in names:
        shutil.rmtree(path)
        shutil.copytree(pristine, path)
        damage(path / name)
        again = Shelf(settings, path)
        again.check(unit(3, seed=7), 30)
        again.put(["new"], unit(1, seed=9))
        again.check(unit(3, seed=7), 30)
        again.close()
    return len(names)


def flip_a_bit(file: Path):
    content = bytearray(file.read_bytes())
    if content:
        content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b"\x80\x04\x95pickle"),
    ],
    ids=["flipped", "truncated", "emptied", "deleted", "replaced"],
)
def test_a_damaged_cache_is_built_again(settings, tmp_path, damage):
    shelf = Shelf(settings, tmp_path / "kb")
    shelf.put(range(100), unit(100))
    shelf.close()
    damaged = damage_each_cache_file(settings, tmp_path / "kb", damage)
    has_files = settings in (resolve_index("faiss"), resolve_index("chroma"))
    assert (damaged > 0) == has_files


def test_the_cache_of_another_store_is_not_believed(settings, tmp_path):
    for name, seed in (("kb", 0), ("other", 1)):
        shelf = Shelf(settings, tmp_path / name)
        shelf.put(range(50), unit(50, seed))
        shelf.close()
    shutil.rmtree(tmp_path / "kb" / "cache")
    shutil.copytree(tmp_path / "other" / "cache", tmp_path / "kb" / "cache")
    again = Shelf(settings, tmp_path / "kb")
    again.check(unit(3, seed=2))
    again.close()


def test_a_cache_that_is_ahead_of_a_restored_truth_is_dropped(settings, tmp_path):
    shelf = Shelf(settings, tmp_path / "kb")
    shelf.put(range(20), unit(20))
    shelf.store.backup(tmp_path / "backup")
    shelf.put(["later"], unit(1, seed=1))
    shelf.close()
    shutil.copy(tmp_path / "backup" / "truth.db", tmp_path / "kb" / "truth.db")
    other = Shelf(resolve_index("flat"), tmp_path / "kb")
    other.put(["other"], unit(1, seed=2))  # takes the number that "later" had
    other.close()
    again = Shelf(settings, tmp_path / "kb")
    assert again.index.numbers().tolist() == list(range(1, 22))
    again.check(unit(1, seed=1), 5)
    again.close()


def test_closing_without_saving_loses_no_row(settings, tmp_path):
    shelf = Shelf(settings, tmp_path / "kb")
    shelf.put(range(30), unit(30))
    shelf.close(save=False)
    again = Shelf(settings, tmp_path / "kb")
    again.check(unit(3, seed=1), 40)
    again.close()


def test_searches_are_right_while_rows_come_and_go(shelf):
    """Eight threads search while one changes rows: every score must be that of its row, none of a removed row."""
    vectors = unit(2000)
    shelf.index.add(np.arange(200), vectors[:200])
    stop, faults, searches = threading.Event(), [], [0] * 8

    def run(worker):
        generator = np.random.default_rng(worker)
        while not stop.is_set():
            query = vectors[generator.integers(2000)]
            (found,) = shelf.index.search(query[None], 10)
            exact = (vectors[found.numbers].astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
            if not np.allclose(found.scores, exact, atol=1e-6) or len(set(found.numbers.tolist())) != 10:
                faults.append(found)
            searches[worker] += 1

    def run_guarded(worker):
        try:
            run(worker)
        except Exception as fault:  # noqa: BLE001  (whatever it is, the test must see it)
            faults.append(fault)

    threads = [threading.Thread(target=run_guarded, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for start in range(200, 300, 5):
        shelf.index.add(np.arange(start, start + 5), vectors[start : start + 5])
        shelf.index.remove(np.arange(start - 200, start - 195))
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sum(searches) > 8
    assert shelf.index.numbers().tolist() == list(range(100, 300))


def test_a_second_handle_on_one_path_is_right_or_refused(settings, tmp_path):
    shelf = Shelf(settings, tmp_path / "kb")
    shelf.put(range(30), unit(30))
    if settings == resolve_index("chroma"):
        with pytest.raises(StoreLockedError, match="one process at a time"):
            Shelf(settings, tmp_path / "kb")
    else:
        second = Shelf(settings, tmp_path / "kb")
        second.put(["x"], unit(1, seed=1))
        second.check(unit(2, seed=2))
        shelf.refresh()
        second.close()
    shelf.check(unit(2, seed=2))
    shelf.close()


def test_closing_twice_is_harmless(settings, tmp_path):
    shelf = Shelf(settings, tmp_path / "kb")
    shelf.put([1], unit(1))
    shelf.index.close()
    shelf.index.close()
    shelf.store.close()


def test_settings_are_frozen_and_comparable(settings):
    assert resolve_index(settings) is settings
    assert replace(settings) == settings
