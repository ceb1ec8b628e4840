"""From documents to a store that can be searched: `python -m benchmarks.indexing [DOCUMENTS ...]`.

Every size is a process of its own: how long `KnowledgeRetriever.add` takes, what share of it the engine computes, the
first search after it, and the peak of memory beyond what the process had before. Documents are about 150 tokens long.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.provenance import provenance
from rag_embedder import Document, Embedder, KnowledgeRetriever
from rag_embedder.quickstart.standard_library import module_documents
from rag_embedder.types import Vectors

_CHARACTERS = 700


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=int, nargs="*", default=[2_000, 20_000])
    parser.add_argument("--here", action="store_true", help="In this process; one size only.")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(_measured(arguments.documents[0])))
        return
    rows = measure(arguments.documents)
    for row in rows:
        print(
            f"{row['documents']:>8,} documents in {row['add_s']:.1f} s ({row['documents_per_s']:.0f}/s), engine "
            f"{row['engine_share']:.1%}, first search {row['first_search_s']:.2f} s, memory +{row['memory_mb']} MB"
        )
    print(json.dumps({"rows": rows, **provenance("torch", "faiss-cpu")}))


def measure(sizes: list[int]) -> list[dict[str, Any]]:
    """One row for each number of documents."""
    command = [sys.executable, "-m", "benchmarks.indexing", "--here"]
    outputs = [
        subprocess.run([*command, str(size)], stdout=subprocess.PIPE, text=True, check=True).stdout for size in sizes
    ]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def _measured(size: int) -> dict[str, Any]:
    embedder = Embedder.load(device="cpu")
    embedder.encode_documents(["warm"] * 64)
    seconds = 0.0
    encode = embedder._engine.encode

    def timed(token_ids: Sequence[list[int]]) -> Vectors:
        nonlocal seconds
        started = time.perf_counter()
        vectors = encode(token_ids)
        seconds += time.perf_counter() - started
        return vectors

    embedder._engine.encode = timed
    before = _peak()
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeRetriever(embedder, path=Path(folder) / "store") as knowledge,
    ):
        started = time.perf_counter()
        knowledge.add(_documents(size), show_progress=False)
        added = time.perf_counter() - started
        started = time.perf_counter()
        knowledge.retrieve("How do I open a file?", 5)
        searched = time.perf_counter() - started
    return {
        "documents": size,
        "add_s": round(added, 2),
        "documents_per_s": round(size / added, 1),
        "engine_share": round(seconds / added, 4),
        "first_search_s": round(searched, 3),
        "memory_mb": _peak() - before,
    }


def _documents(size: int) -> Iterator[Document]:
    texts = [document.text[:_CHARACTERS] for document in module_documents()]
    return (Document(f"{texts[number % len(texts)]} ({number})", id=str(number)) for number in range(size))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
