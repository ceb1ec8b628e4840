"""Our encoder beside sentence-transformers on the same weights and texts: ratios inside one run.

    python benchmarks/encode_throughput.py [--rounds 5] [--texts 300] [--threads 2] [--json OUT]

Texts are the documentation of the Python standard library: short queries (first sentences, about 12 tokens), passages
(whole entries) and a mix with a long tail. The two take turns, the figure is the median of the rounds' ratios. Single
queries are timed text to vector.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rag_embedder import Embedder
from rag_embedder.model_source import base_folder
from rag_embedder.quickstart.standard_library import function_tools, module_documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(base_folder()), device="cpu")
    embedder = Embedder.load(device="cpu", instructions="none")

    def theirs(texts: Sequence[str]) -> object:
        return reference.encode(list(texts), normalize_embeddings=True)

    rows = []
    for name, texts in workloads(arguments.texts).items():
        row = compare(theirs, embedder.encode_documents, texts, arguments.rounds)
        rows.append({"workload": name, "texts": len(texts), **row})
        print(_line(rows[-1]), flush=True)
    queries = workloads(60)["queries"]
    rows.append({"workload": "single query", "texts": 1, **single(theirs, embedder.encode_queries, queries)})
    print(_line(rows[-1]))
    result = {"rows": rows, **_provenance(arguments.threads)}
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def workloads(count: int) -> dict[str, list[str]]:
    """Real texts of three shapes."""
    passages = [document.text for document in module_documents()]
    sentences = [tool.description.split(". ")[0] for tool in function_tools()]
    step = max(1, len(passages) // count)
    spread = passages[::step][:count]
    mixed = [text for pair in zip(sentences[:: len(sentences) // count], spread, strict=False) for text in pair]
    return {"queries": sentences[:: len(sentences) // count][:count], "passages": spread, "mixed": mixed[:count]}


def compare(
    theirs: Callable[[Sequence[str]], object], ours: Callable[[Sequence[str]], object], texts: list[str], rounds: int
) -> dict[str, Any]:
    """Seconds of each, taking turns, and the median ratio (above 1: we are faster)."""
    theirs(texts[:32])
    ours(texts[:32])
    pairs = [(_seconds(theirs, texts), _seconds(ours, texts)) for _ in range(rounds)]
    ratios = sorted(reference / own for reference, own in pairs)
    return {
        "theirs_s": round(statistics.median(reference for reference, _ in pairs), 4),
        "ours_s": round(statistics.median(own for _, own in pairs), 4),
        "ratio": round(statistics.median(ratios), 2),
        "range": [round(ratios[0], 2), round(ratios[-1], 2)],
    }


def single(
    theirs: Callable[[Sequence[str]], object], ours: Callable[[Sequence[str]], object], texts: list[str]
) -> dict[str, Any]:
    """The same for one text at a time: median seconds, and the ratio of the medians."""
    pairs = [(_seconds(theirs, [text]), _seconds(ours, [text])) for text in texts]
    reference = statistics.median(reference for reference, _ in pairs)
    own = statistics.median(own for _, own in pairs)
    return {"theirs_s": round(reference, 5), "ours_s": round(own, 5), "ratio": round(reference / own, 2)}


def _seconds(encode: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    start = time.perf_counter()
    encode(texts)
    return time.perf_counter() - start


def _line(row: dict[str, Any]) -> str:
    spread = f" [{row['range'][0]}-{row['range'][1]}]" if "range" in row else ""
    return (
        f"{row['workload']:<14} sentence-transformers {row['theirs_s']:.4f} s, ours {row['ours_s']:.4f} s, "
        f"ratio {row['ratio']:.2f}{spread}"
    )


def _provenance(threads: int) -> dict[str, Any]:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    packages = ("torch", "transformers", "sentence-transformers", "tokenizers")
    return {
        "commit": commit.stdout.strip() or "unknown",
        "threads": threads,
        "versions": {package: version(package) for package in packages},
    }


if __name__ == "__main__":
    main()
