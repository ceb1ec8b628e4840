"""`import rag_embedder` is cheap: nothing heavy is imported before it is needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import rag_embedder

ROOT = Path(rag_embedder.__file__).parent.parent
HEAVY = ("torch", "transformers", "faiss", "chromadb", "numpy", "tokenizers", "sentence_transformers")
SECONDS = 0.3

PROBE = """
import json, sys, time
start = time.process_time()  # of this process alone: the machine may be busy
{statement}
print(json.dumps([time.process_time() - start, sorted(sys.modules)]))
"""


def imported_by(statement):
    """Seconds, and the heavy modules that are there afterwards, in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(statement=statement)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, modules = json.loads(done.stdout)
    return seconds, [name for name in HEAVY if name in modules]


def test_importing_the_package_is_fast_and_imports_nothing_heavy():
    # The best of three: another process may have the machine for a moment.
    seconds, heavy = min(imported_by("import rag_embedder") for _ in range(3))
    assert heavy == []
    assert seconds < SECONDS


@pytest.mark.parametrize("statement", ["import numpy", "from rag_embedder import Hit"])
def test_the_check_sees_a_heavy_import(statement):
    assert "numpy" in imported_by(statement)[1]


def test_the_check_sees_a_slow_import():
    busy = f"while time.process_time() - start < {SECONDS}: pass"
    assert imported_by(busy)[0] >= SECONDS


@pytest.mark.parametrize(
    "statement",
    [
        "from rag_embedder import Document, Hit, Scenario, Tool, Turn, RagEmbedderError",
        "import rag_embedder.store, rag_embedder.index, rag_embedder.engine",
    ],
)
def test_records_and_registries_need_no_model_library(statement):
    assert set(imported_by(statement)[1]) <= {"numpy"}
