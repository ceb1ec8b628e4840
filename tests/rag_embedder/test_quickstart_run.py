"""The quickstart fills five scenarios once, answers, and reuses what is on disk."""

import pytest

from rag_embedder.quickstart import run as quickstart
from rag_embedder.quickstart.side_by_side import by_scenario, side_by_side, totals
from rag_embedder.types import Document, Tool


@pytest.fixture
def small_library(monkeypatch):
    monkeypatch.setattr(
        quickstart,
        "module_documents",
        lambda: [
            Document("A queue for threads to exchange items.", id="queue"),
            Document("Exact money.", id="decimal"),
        ],
    )
    monkeypatch.setattr(
        quickstart,
        "function_tools",
        lambda: [Tool("shutil.copytree", "Copy a directory tree."), Tool("math.sqrt", "Root.")],
    )


def test_all_scenarios_answer_and_a_second_run_reuses(embedder, small_library, tmp_path):
    first = quickstart.run_quickstart(embedder, tmp_path / "data")
    assert [section.scenario.split(":")[0] for section in first] == [
        "knowledge",
        "memory",
        "demonstrations",
        "tools",
        "conversational search",
    ]
    assert not any(section.is_reused for section in first)
    assert all(answer.hits for section in first for answer in section.answers)
    second = quickstart.run_quickstart(embedder, tmp_path / "data")
    assert all(section.is_reused for section in second)
    for before, after in zip(first, second, strict=True):
        assert before.num_items == after.num_items
        for one, two in zip(before.answers, after.answers, strict=True):
            assert [(hit.id, hit.score) for hit in one.hits] == [(hit.id, hit.score) for hit in two.hits]


def test_a_half_filled_memory_is_filled_again(embedder, small_library, tmp_path):
    (_, memory, *_) = quickstart.run_quickstart(embedder, tmp_path / "data")
    with quickstart.MemoryRetriever(embedder, path=tmp_path / "data" / "memory") as opened:
        opened.forget(memory.answers[0].request.split(":")[0])
    (_, again, *_) = quickstart.run_quickstart(embedder, tmp_path / "data")
    assert not again.is_reused
    assert again.num_items == memory.num_items


def test_a_changed_library_is_not_called_reused(embedder, small_library, monkeypatch, tmp_path):
    quickstart.run_quickstart(embedder, tmp_path / "data")
    changed = [Document("Another text for the queue.", id="queue"), Document("Exact money.", id="decimal")]
    monkeypatch.setattr(quickstart, "module_documents", lambda: changed)
    knowledge, memory, demonstrations, tools, conversation = quickstart.run_quickstart(embedder, tmp_path / "data")
    assert not knowledge.is_reused
    assert not conversation.is_reused
    assert memory.is_reused
    assert demonstrations.is_reused
    assert tools.is_reused


def test_two_encoders_side_by_side(embedder, small_library, tmp_path):
    rows = side_by_side(embedder, embedder, tmp_path)
    assert {scenario: len(asked) for scenario, asked in by_scenario(rows).items()} == {
        "knowledge": 15,
        "memory": 17,
        "demonstrations": 13,
        "tools": 23,
        "conversational search": 8,
    }
    # The same encoder twice: nothing between them.
    assert all(0 <= row.base == row.ours <= row.wanted for row in rows)
    found = {row.request.split(": ")[-1]: (row.wanted, row.ours) for row in rows}
    assert found["How can several threads exchange items through a queue?"] == (2, 1)  # queue.Queue is not in it
    assert found["copy a whole directory tree to another place"] == (1, 1)
    assert found["The headphones broke after a week and the sound was thin."][0] == 5
    wanted, base, ours = totals(rows)
    assert (wanted, base, ours) == (
        sum(row.wanted for row in rows),
        sum(row.base for row in rows),
        sum(row.ours for row in rows),
    )
    assert (tmp_path / "base" / "tools").is_dir()


def test_a_wanted_turn_is_known_without_its_suffix_and_a_chunk_without_its_number(embedder, small_library, tmp_path):
    rows = {row.request: row for row in side_by_side(embedder, embedder, tmp_path)}
    sections = quickstart.run_quickstart(embedder, tmp_path, mode="dense", k=5)
    answer = next(answer for answer in sections[1].answers if "allergic" in answer.request)
    is_found = any(hit.id.startswith("2025-01-14/4-") for hit in answer.hits)
    assert rows[answer.request].ours == is_found
