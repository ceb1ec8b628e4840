"""What a server does with processes: forking after loading, and handing objects to a spawned child."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import rag_embedder
from rag_embedder import Document, KnowledgeRetriever, MemoryRetriever
from rag_embedder.encoder import TruncationWarning

FORK = """
import os, sys
import numpy as np
from rag_embedder import Embedder, KnowledgeRetriever

embedder = Embedder.load(sys.argv[1], device="cpu")
texts = ["some words about oslo"] * 40 + ["bread"]
before = embedder.encode_documents(texts)
child = os.fork()
if child == 0:
    same = np.allclose(embedder.encode_documents(texts), before, atol=1e-5)
    with KnowledgeRetriever(embedder) as knowledge:
        knowledge.add(["oslo", "bread"])
        same = same and knowledge.retrieve("oslo", 1)[0].item.text == "oslo"
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_model_used_before_fork_works_in_the_child(tmp_path):
    """Servers that preload the application fork workers; OpenMP's threads do not come along."""
    from rag_embedder.model_source import base_folder

    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = str(Path(rag_embedder.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", FORK, str(base_folder())], env=environment, start_new_session=True
    )
    try:
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_micro_batcher_of_a_child_does_not_wait_for_threads_of_the_parent(embedder, monkeypatch):
    batcher = embedder._small_calls
    with batcher._model_lock:  # as if a thread of the parent were encoding at the moment of the fork
        monkeypatch.setattr("rag_embedder.micro_batch.os.getpid", lambda: -1)
        assert embedder.encode_queries(["oslo"]).shape == (1, embedder.dim)
    monkeypatch.undo()
    assert embedder.encode_queries(["oslo"]).shape == (1, embedder.dim)


@pytest.mark.parametrize("use", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_cannot_be_pickled_says_what_to_do_instead(embedder, use):
    with pytest.raises(TypeError, match=r"load it again in another process: Embedder\.load"):
        use(embedder)
    for retriever in (KnowledgeRetriever(embedder), MemoryRetriever(embedder)):
        with retriever, pytest.raises(TypeError, match="open its path again"):
            pickle.dumps(retriever)


def test_hits_can_be_pickled(embedder):
    with KnowledgeRetriever(embedder) as knowledge:
        knowledge.add([Document("oslo", id="1", metadata={"year": 1})])
        hits = knowledge.retrieve("oslo", 1)
    assert pickle.loads(pickle.dumps(hits)) == hits


def test_the_truncation_warning_points_at_the_caller(tiny_folder):
    embedder = rag_embedder.Embedder.load(tiny_folder, device="cpu")
    with KnowledgeRetriever(embedder) as knowledge, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        knowledge.add(["word " * 2000])
    (warning,) = [each for each in caught if each.category is TruncationWarning]
    assert warning.filename == __file__


def test_retrievers_show_where_they_are(embedder, tmp_path):
    with KnowledgeRetriever(embedder, path=tmp_path / "kb") as knowledge:
        assert repr(knowledge) == f"KnowledgeRetriever({tmp_path / 'kb'})"
    assert repr(knowledge) == f"KnowledgeRetriever({tmp_path / 'kb'}, closed)"
    with MemoryRetriever(embedder) as memory:
        assert repr(memory) == "MemoryRetriever(in memory)"
