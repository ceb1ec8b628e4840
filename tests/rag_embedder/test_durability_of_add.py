"""What `KnowledgeRetriever.add` has acknowledged is found after `kill -9`, by a user's own means."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rag_embedder import KnowledgeRetriever
from tests.rag_embedder.kill_add_child import PER_CALL, text_of
from tests.retriever_cases import WordEncoder

ROOT = Path(__file__).parents[2]


def acknowledged_before_kill(folder, first, seconds):
    """Numbers that a child acknowledged until it was killed, `seconds` after it had opened the store."""
    words = [sys.executable, "-m", "tests.rag_embedder.kill_add_child", str(folder), str(first)]
    lines = []
    with subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"open\n"
        # Read meanwhile: a full pipe would stop the child between two calls.
        reader = threading.Thread(target=lambda: lines.extend(child.stdout))
        reader.start()
        time.sleep(seconds)
        child.kill()
        reader.join()
    assert child.returncode == -signal.SIGKILL
    # The kill may cut the last line.
    return [int(line) for line in lines if line.endswith(b"\n")]


def run_rounds(folder, rounds, seed):
    chooser = random.Random(seed)
    acknowledged = []
    for turn in range(rounds):
        acknowledged += acknowledged_before_kill(folder, turn * 1_000_000, chooser.uniform(0.0, 0.4))
        with KnowledgeRetriever(WordEncoder(), path=folder) as knowledge:
            stored = {id_ for id_, _ in knowledge.iter_metadata()}
            assert {str(number) for number in acknowledged} <= stored, f"seed {seed}, round {turn}"
            # Besides, in each round, at most the one call whose answer was cut: calls are whole or not there.
            assert len(stored) % PER_CALL == 0
            assert len(stored) - len(acknowledged) <= PER_CALL * (turn + 1)
            for number in chooser.sample(acknowledged, min(20, len(acknowledged))):
                (hit,) = knowledge.retrieve(text_of(number), 1)
                assert hit.item.text == text_of(number)
    return len(acknowledged)


def test_two_kills_lose_no_acknowledged_document(tmp_path):
    assert run_rounds(tmp_path / "kb", rounds=2, seed=4) > 0


@pytest.mark.slow
def test_a_hundred_kills_lose_no_acknowledged_document(tmp_path):
    assert run_rounds(tmp_path / "kb", rounds=100, seed=5) > 1000
