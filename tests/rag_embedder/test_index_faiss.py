import logging

import numpy as np
import pytest

from rag_embedder.errors import ConfigError, MissingExtraError
from rag_embedder.index import IndexPlace, faiss
from rag_embedder.index.faiss import FaissSettings
from rag_embedder.index.flat import FlatSettings

DIM = 32


def place(folder=None, generations=None):
    """A place whose generation is kept in a list of one number."""
    kept = [0] if generations is None else generations

    def bump():
        kept[0] += 1
        return kept[0]

    return IndexPlace(DIM, folder, "store", 1, "f", lambda: kept[0], bump)


def clustered(count, seed=0):
    """Unit rows around 50 centres, as texts are."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((50, DIM))
    vectors = centres[generator.integers(50, size=count)] + 0.7 * generator.standard_normal((count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def both(count, **options):
    vectors, numbers = clustered(count), np.arange(1, count + 1)
    flat, graph = FlatSettings().open(place()), FaissSettings(**options).open(place())
    flat.add(numbers, vectors)
    graph.add(numbers, vectors)
    return flat, graph, vectors


def recall(flat, other, queries, k=10, allowed=None):
    wanted, found = flat.search(queries, k, allowed=allowed), other.search(queries, k, allowed=allowed)
    common = [len(set(a.numbers.tolist()) & set(b.numbers.tolist())) for a, b in zip(wanted, found, strict=True)]
    return sum(common) / sum(len(a.numbers) for a in wanted)


def test_a_large_first_add_builds_a_graph_and_small_adds_do_not():
    _, graph, _ = both(300, hnsw_above=300)
    _, exact, _ = both(299, hnsw_above=300)
    exact.add(np.array([1000, 1001]), clustered(2))
    assert graph._is_graph()
    assert not exact._is_graph()


def test_a_graph_finds_nearly_all_and_scores_exactly():
    flat, graph, vectors = both(3000, hnsw_above=1000)
    queries = clustered(100, seed=1)
    assert recall(flat, graph, queries) >= 0.99
    own = [graph.search(vectors[i : i + 1], 10)[0].numbers.tolist() for i in range(0, 3000, 10)]
    assert sum(i * 10 + 1 in found for i, found in enumerate(own)) / len(own) >= 0.999
    for query, found in zip(queries, graph.search(queries, 10), strict=True):
        exact = (vectors[found.numbers - 1].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        assert found.scores.tolist() == exact.astype(np.float32).tolist()


def test_a_graph_returns_every_row_when_all_are_asked_for():
    _, graph, _ = both(3000, hnsw_above=1000)
    graph.remove(np.arange(1, 200))
    (found,) = graph.search(clustered(1, seed=1), 3000)
    assert sorted(found.numbers.tolist()) == list(range(200, 3001))


def test_a_graph_obeys_small_and_large_restrictions():
    flat, graph, _ = both(3000, hnsw_above=1000)
    queries = clustered(50, seed=1)
    few = np.arange(1, 3000, 100)
    assert recall(flat, graph, queries, allowed=few) == 1.0
    most = np.arange(1, 3001, 2)
    assert recall(flat, graph, queries, allowed=most) >= 0.98
    assert all((found.numbers % 2 == 1).all() for found in graph.search(queries, 10, allowed=most))


def test_rows_removed_from_a_graph_are_never_found_and_gone_after_reopening(tmp_path):
    generations = [0]
    graph = FaissSettings(hnsw_above=100).open(place(tmp_path, generations))
    vectors = clustered(400)
    graph.add(np.arange(400), vectors)
    graph.remove(np.arange(150))
    for found in graph.search(vectors[:150], 20):
        assert (found.numbers >= 150).all()
        assert len(found.numbers) == 20
    graph.save()
    again = FaissSettings(hnsw_above=100).open(place(tmp_path, generations))
    assert again.numbers().tolist() == list(range(150, 400))
    assert len(again._rows) == 250


def test_an_exact_index_that_outgrew_the_limit_becomes_a_graph_when_opened(tmp_path):
    generations = [0]
    index = FaissSettings(hnsw_above=300).open(place(tmp_path, generations))
    for start in range(0, 400, 100):
        index.add(np.arange(start, start + 100), clustered(100, seed=start))
    assert not index._is_graph()
    index.save()
    again = FaissSettings(hnsw_above=300).open(place(tmp_path, generations))
    assert again._is_graph()
    assert again.numbers().tolist() == list(range(400))


def test_saving_leaves_one_generation_and_nothing_when_nothing_changed(tmp_path):
    generations = [0]
    index = FaissSettings().open(place(tmp_path, generations))
    for start in range(3):
        index.add(np.array([start]), clustered(1))
        index.save()
        index.save()
    assert generations == [3]
    names = sorted(each.name for each in (tmp_path / "faiss-1").iterdir())
    assert names == ["generation-000003.safetensors", "lock", "manifest.json"]


@pytest.mark.parametrize("field", ["dim", "fingerprint", "store_id", "space"])
def test_a_cache_made_for_something_else_is_dropped_with_one_warning(tmp_path, caplog, field):
    generations = [0]
    index = FaissSettings().open(place(tmp_path, generations))
    index.add(np.array([1]), clustered(1))
    index.save()
    manifest = tmp_path / "faiss-1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{field}": ', f'"{field}": 9, "was": '))
    with caplog.at_level(logging.WARNING):
        assert FaissSettings().open(place(tmp_path, generations)).numbers().tolist() == []
    assert len(caplog.records) == 1
    assert field in caplog.text


def test_every_flipped_bit_of_the_cache_is_noticed(tmp_path):
    generations = [0]
    index = FaissSettings().open(place(tmp_path, generations))
    index.add(np.arange(50), clustered(50))
    index.save()
    (data,) = (tmp_path / "faiss-1").glob("*.safetensors")
    whole, generator = data.read_bytes(), np.random.default_rng(0)
    for where in generator.integers(0, len(whole), 100):
        broken = bytearray(whole)
        broken[where] ^= 1 << generator.integers(8)
        data.write_bytes(broken)
        assert FaissSettings().open(place(tmp_path, generations)).numbers().tolist() == []
    data.write_bytes(whole)
    assert len(FaissSettings().open(place(tmp_path, generations)).numbers()) == 50


def test_options_out_of_range_are_refused():
    for bad in (0, -1, 1.5, True, "x"):
        with pytest.raises(ConfigError, match="hnsw_above"):
            FaissSettings(hnsw_above=bad)


def test_without_faiss_the_message_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(faiss, "import_module", missing)
    with pytest.raises(MissingExtraError, match="pip install faiss-cpu"):
        FaissSettings().open(place())
