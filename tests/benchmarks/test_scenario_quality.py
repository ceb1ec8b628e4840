"""The figures in docs/log.md come from this script: its arithmetic, and one real set where the data is at hand."""

import gzip
import json
import math
import os
from pathlib import Path

import pytest

from benchmarks import scenario_quality as quality

DATA = Path(os.environ.get("RAG_EMBEDDER_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_ndcg_and_recall_by_hand():
    ndcg, recall = quality.judge(["a", "x", "b"], {"a": 1.0, "b": 1.0})
    assert ndcg == pytest.approx((1 + 0.5) / (1 + 1 / math.log2(3)))
    assert recall == 1.0


def test_graded_labels_have_linear_gain():
    ndcg, recall = quality.judge(["good", "best"], {"best": 2.0, "good": 1.0})
    assert ndcg == pytest.approx((1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3)))
    assert recall == 1.0


def test_nothing_found_is_zero_and_only_ten_count():
    assert quality.judge([], {"a": 1.0}) == (0.0, 0.0)
    assert quality.judge([f"x{n}" for n in range(10)] + ["a"], {"a": 1.0}) == (0.0, 0.0)


def test_more_relevant_than_ten_can_still_be_all_found():
    relevant = {f"r{n}": 1.0 for n in range(25)}
    assert quality.judge(list(relevant)[:10], relevant) == (pytest.approx(1.0), 1.0)


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_memory_set_is_searched_inside_each_document_only(tmp_path, embedder, monkeypatch):
    folder = tmp_path / "memory" / "memorybank_chat"
    turns = [
        {"role": "user", "content": "the cat sat", "session": 0},
        {"role": "assistant", "content": "nice cat", "session": 0},
        {"role": "user", "content": "stock prices", "session": 0},
        {"role": "assistant", "content": "they fell", "session": 0},
    ]
    write_jsonl(
        folder / "documents.test.jsonl.gz",
        [{"_id": name, "turns": turns, "windows": [[0, 2], [2, 4]]} for name in ("d1", "d2")],
    )
    write_jsonl(folder / "queries.test.jsonl.gz", [{"_id": "q", "doc_id": "d2", "text": "the cat sat"}])
    with gzip.open(folder / "qrels.test.tsv.gz", "wt", encoding="utf-8") as lines:
        lines.write("query-id\tcorpus-id\tscore\nq\td2#0\t1\n")
    monkeypatch.setattr(quality.Embedder, "load", lambda *_, **__: embedder)
    row = quality.measure(quality.SETS["chat"](tmp_path), None)
    # d1#0 has the very same text: only the search inside d2 puts d2#0 first.
    assert (row["bm25"], row["default"], row["hybrid"]) == ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0))


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason=f"no evaluation data at {DATA}; set RAG_EMBEDDER_DATA")
def test_dialogue_memory_on_real_data_stays_where_it_was():
    row = quality.measure(quality.SETS["chat"](DATA), None)
    assert row["queries"] == 99
    assert row["bm25"][0] == pytest.approx(0.678, abs=0.02)
    assert row["no_instruction"][0] == pytest.approx(0.719, abs=0.02)
