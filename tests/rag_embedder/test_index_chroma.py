import logging
import os
import threading

import numpy as np
import pytest

from rag_embedder.errors import BackendError, ConfigError, MissingExtraError, StoreForkedError
from rag_embedder.index import IndexPlace, chroma
from rag_embedder.index.chroma import ChromaSettings
from rag_embedder.index.flat import FlatSettings

DIM = 16


def place(folder=None, store_id="3b241101-e2bb-4255-8caf-4136c566a962", generations=None):
    kept = [0] if generations is None else generations

    def bump():
        kept[0] += 1
        return kept[0]

    return IndexPlace(DIM, folder, store_id, 1, "f", lambda: kept[0], bump)


def unit(count, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_without_chromadb_the_message_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(chroma, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "rag-embedder\[chroma\]"'):
        ChromaSettings().open(place())


def test_options_out_of_range_are_refused_and_headers_stay_out_of_the_repr():
    with pytest.raises(ConfigError, match="exact_up_to"):
        ChromaSettings(exact_up_to=-1)
    assert "secret" not in repr(ChromaSettings(host="h", headers={"Authorization": "secret"}))


class TestWithChroma:
    @pytest.fixture(autouse=True)
    def _needs_chroma(self):
        pytest.importorskip("chromadb", reason="chromadb is not installed")

    def test_above_the_exact_size_chroma_proposes_and_we_score(self):
        vectors, queries = unit(1500), unit(40, seed=1)
        flat, index = FlatSettings().open(place()), ChromaSettings(exact_up_to=0).open(place())
        for each in (flat, index):
            each.add(np.arange(1500), vectors)
            each.remove(np.arange(100))
        common = 0
        for wanted, found in zip(flat.search(queries, 10), index.search(queries, 10), strict=True):
            shared = set(wanted.numbers.tolist()) & set(found.numbers.tolist())
            common += len(shared)
            scores = dict(zip(wanted.numbers.tolist(), wanted.scores.tolist(), strict=True))
            for n, score in zip(found.numbers.tolist(), found.scores.tolist(), strict=True):
                assert scores.get(n, score) == score
        assert common / 400 >= 0.95
        (everything,) = index.search(queries[:1], 1500)
        assert sorted(everything.numbers.tolist()) == list(range(100, 1500))
        index.close()

    def test_growing_past_the_exact_size_and_reopening_keeps_every_row(self, tmp_path):
        generations, vectors = [0], unit(300)
        settings = ChromaSettings(exact_up_to=100)
        index = settings.open(place(tmp_path, generations=generations))
        for start in range(0, 300, 60):
            index.add(np.arange(start, start + 60), vectors[start : start + 60])
        assert index._small is None
        index.close()
        again = settings.open(place(tmp_path, generations=generations))
        assert again.numbers().tolist() == list(range(300))
        assert not again._dirty
        (found,) = again.search(vectors[7:8], 1)
        assert found.numbers.tolist() == [7]
        again.close()

    def test_files_that_were_not_closed_are_built_again(self, tmp_path, caplog):
        generations = [0]
        index = ChromaSettings().open(place(tmp_path, generations=generations))
        index.add(np.arange(5), unit(5))
        index._stop()
        index._folder.release()  # as if the process had been killed: nothing marks the files as whole
        with caplog.at_level(logging.WARNING):
            again = ChromaSettings().open(place(tmp_path, generations=generations))
        assert again.numbers().tolist() == []
        assert "built again" in caplog.text
        again.close()

    def test_only_numbers_and_vectors_reach_chroma(self, tmp_path):
        index = ChromaSettings().open(place(tmp_path))
        index.add(np.array([7]), unit(1))
        everything = index._collection.get(include=["documents", "metadatas", "embeddings", "uris"])
        assert everything["ids"] == ["7"]
        assert everything["documents"] == [None]
        assert everything["metadatas"] == [None]
        np.testing.assert_array_equal(everything["embeddings"], unit(1))
        index.close()

    def test_two_indexes_in_memory_are_apart(self):
        one, two = ChromaSettings().open(place()), ChromaSettings().open(place())
        one.add(np.array([1]), unit(1))
        assert two.numbers().tolist() == []
        one.close()
        two.add(np.array([2]), unit(1))
        assert two.search(unit(1), 5)[0].numbers.tolist() == [2]
        two.close()

    def test_a_closed_index_says_so(self):
        index = ChromaSettings().open(place())
        index.close()
        with pytest.raises(BackendError, match="closed"):
            index.search(unit(1), 1)

    def test_a_forked_child_is_told_and_does_not_hang(self, tmp_path):
        index = ChromaSettings().open(place(tmp_path))
        index.add(np.array([1]), unit(1))
        child = os.fork()
        if child == 0:
            try:
                index.search(unit(1), 1)
            except StoreForkedError:
                os._exit(7)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert index.search(unit(1), 1)[0].numbers.tolist() == [1]
        index.close()

    def test_opening_and_closing_leaks_neither_files_nor_threads(self, tmp_path):
        if not os.path.isdir("/proc/self/task"):
            pytest.skip("no /proc")

        def count():
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), threading.active_count()

        generations = [0]
        for _ in range(2):
            ChromaSettings().open(place(tmp_path, generations=generations)).close()
        before = count()
        for _ in range(5):
            ChromaSettings().open(place(tmp_path, generations=generations)).close()
        assert count() == before
