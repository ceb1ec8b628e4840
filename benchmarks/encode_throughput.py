"""Our engines beside sentence-transformers on the same weights and texts: ratios inside one run.

    python -m benchmarks.encode_throughput [--rounds 5] [--texts 300] [--threads 2] [--device cuda] [--json OUT]

Texts are the documentation of the Python standard library: short queries (first sentences, about 12 tokens), passages
(whole entries) and a mix with a long tail. All take turns, the figure is the median of the rounds' ratios to
sentence-transformers as it comes (float32). Single queries are timed text to vector. The cosine is that to our
reference engine. "share" is what the whole call, tokenising included, reaches of the fastest large matrix product in
the engine's number format, measured in the same run with the same threads.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.ceiling import forward_flops, product_flops
from benchmarks.provenance import provenance
from rag_embedder import Embedder
from rag_embedder.model_folder.json_files import read_json
from rag_embedder.model_source import base_folder
from rag_embedder.quickstart.standard_library import function_tools, module_documents

Encode = Callable[[Sequence[str]], object]

REFERENCE = "transformers"

ENGINES = {
    REFERENCE: ("transformers", "float32"),
    "packed float32": ("packed", "float32"),
    "packed auto": ("packed", "auto"),
}
"""Row -> engine and number format."""

PEER = "sentence-transformers bfloat16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = measure(rounds=arguments.rounds, texts=arguments.texts, threads=arguments.threads, device=arguments.device)
    for row in rows:
        print(_line(row))
    result = {"rows": rows, **provenance("torch", "transformers", "sentence-transformers", "tokenizers")}
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(*, rounds: int, texts: int, threads: int, device: str = "cpu") -> list[dict[str, Any]]:
    """One row for each workload and engine; the texts of a workload are `texts` in number."""
    torch.set_num_threads(threads)
    from sentence_transformers import SentenceTransformer

    folder = str(base_folder())
    reference = SentenceTransformer(folder, device=device)
    half = SentenceTransformer(folder, device=device, model_kwargs={"dtype": torch.bfloat16})
    engines = {
        name: Embedder.load(folder, device=device, instructions="none", engine=engine, dtype=dtype)
        for name, (engine, dtype) in ENGINES.items()
    }

    def theirs(texts: Sequence[str]) -> object:
        return reference.encode(list(texts), normalize_embeddings=True)

    others: dict[str, Encode] = {name: embedder.encode_documents for name, embedder in engines.items()}
    others[PEER] = lambda texts: half.encode(list(texts), normalize_embeddings=True)
    config = read_json(Path(folder) / "config.json")
    ceilings = {name: product_flops(device, getattr(torch, embedder.dtype)) for name, embedder in engines.items()}
    rows: list[dict[str, Any]] = []
    for workload, chosen in workloads(texts).items():
        near = fidelity(engines, chosen)
        shape = {"workload": workload, "texts": len(chosen), "threads": threads}
        for name, row in compare(theirs, others, chosen, rounds).items():
            more = near.get(name, {})
            if name in engines:
                flops = forward_flops(engines[name], chosen, config)
                more = {**more, "share": round(flops / row["ours_s"] / ceilings[name], 3)}
            rows.append({**shape, "engine": name, **row, **more})
    compared = single(theirs, others, workloads(60)["queries"])
    return rows + [
        {"workload": "single query", "engine": name, "texts": 1, "threads": threads, **row}
        for name, row in compared.items()
    ]


def workloads(count: int) -> dict[str, list[str]]:
    """Real texts of three shapes."""
    passages = [document.text for document in module_documents()]
    sentences = [tool.description.split(". ")[0] for tool in function_tools()]
    step = max(1, len(passages) // count)
    spread = passages[::step][:count]
    mixed = [text for pair in zip(sentences[:: len(sentences) // count], spread, strict=False) for text in pair]
    return {"queries": sentences[:: len(sentences) // count][:count], "passages": spread, "mixed": mixed[:count]}


def compare(theirs: Encode, ours: dict[str, Encode], texts: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """By engine: seconds of each, taking turns, and the median ratio (above 1: we are faster)."""
    everyone = {"theirs": theirs, **ours}
    for encode in everyone.values():
        encode(texts[:32])
    turns = [{name: _seconds(encode, texts) for name, encode in everyone.items()} for _ in range(rounds)]
    found = {}
    for name in ours:
        ratios = sorted(turn["theirs"] / turn[name] for turn in turns)
        found[name] = {
            "theirs_s": round(statistics.median(turn["theirs"] for turn in turns), 4),
            "ours_s": round(statistics.median(turn[name] for turn in turns), 4),
            "ratio": round(statistics.median(ratios), 2),
            "range": [round(ratios[0], 2), round(ratios[-1], 2)],
        }
    return found


def single(theirs: Encode, ours: dict[str, Encode], texts: list[str]) -> dict[str, dict[str, Any]]:
    """The same for one text at a time: median seconds, and the ratio of the medians."""
    everyone = {"theirs": theirs, **ours}
    turns = [{name: _seconds(encode, [text]) for name, encode in everyone.items()} for text in texts]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in everyone}
    return {
        name: {
            "theirs_s": round(medians["theirs"], 5),
            "ours_s": round(medians[name], 5),
            "ratio": round(medians["theirs"] / medians[name], 2),
        }
        for name in ours
    }


def fidelity(engines: dict[str, Embedder], texts: list[str]) -> dict[str, dict[str, float]]:
    """By engine: mean and lowest cosine to the reference's vectors."""
    vectors = {name: embedder.encode_documents(texts) for name, embedder in engines.items()}
    cosines = {name: (rows * vectors[REFERENCE]).sum(axis=1) for name, rows in vectors.items()}
    return {
        name: {"cosine_mean": round(float(each.mean()), 6), "cosine_min": round(float(each.min()), 6)}
        for name, each in cosines.items()
    }


def _seconds(encode: Encode, texts: Sequence[str]) -> float:
    start = time.perf_counter()
    encode(texts)
    return time.perf_counter() - start


def _line(row: dict[str, Any]) -> str:
    spread = f" [{row['range'][0]}-{row['range'][1]}]" if "range" in row else ""
    near = f", share of the ceiling {row['share']:.1%}" if "share" in row else ""
    near += f", cosine {row['cosine_mean']:.6f} / {row['cosine_min']:.6f}" if "cosine_mean" in row else ""
    return (
        f"{row['workload']:<13} {row['engine']:<30} sentence-transformers {row['theirs_s']:.4f} s, "
        f"ours {row['ours_s']:.4f} s, ratio {row['ratio']:.2f}{spread}{near}"
    )


if __name__ == "__main__":
    main()
