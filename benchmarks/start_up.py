"""From a fresh interpreter to the first vector: `python -m benchmarks.start_up [--rounds 5]`.

Ours beside sentence-transformers on the same weights, and `import rag_embedder` alone. Every measurement is a process
of its own; all take turns, figures are medians. Wall seconds depend on the machine's other work, CPU seconds hardly.
"""

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.provenance import provenance
from rag_embedder.model_source import base_folder

_PROGRAM = """
import time
wall, cpu = time.perf_counter(), time.process_time()
{code}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""

PROGRAMS = {
    "import rag_embedder": "import rag_embedder",
    "Embedder.load() and one query": (
        "from rag_embedder import Embedder\nEmbedder.load(device='cpu').encode_queries(['rain in oslo'])"
    ),
    "the same by engine='transformers'": (
        "from rag_embedder import Embedder\n"
        "Embedder.load(device='cpu', engine='transformers').encode_queries(['rain in oslo'])"
    ),
    "sentence-transformers and one query": (
        "from sentence_transformers import SentenceTransformer\n"
        f"SentenceTransformer({str(base_folder())!r}, device='cpu').encode(['rain in oslo'])"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rows = measure(rounds=parser.parse_args().rounds)
    for row in rows:
        print(f"{row['program']:<40} {row['wall_s']:>6.2f} s, {row['cpu_s']:>6.2f} s of CPU")
    print(json.dumps({"rows": rows, **provenance("torch", "transformers", "sentence-transformers")}))


def measure(*, rounds: int) -> list[dict[str, Any]]:
    """Median seconds of every program."""
    turns = [{name: _run(code) for name, code in PROGRAMS.items()} for _ in range(rounds)]
    return [
        {
            "program": name,
            "wall_s": round(statistics.median(turn[name][0] for turn in turns), 3),
            "cpu_s": round(statistics.median(turn[name][1] for turn in turns), 3),
        }
        for name in PROGRAMS
    ]


def _run(code: str) -> tuple[float, float]:
    program = _PROGRAM.format(code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    wall, cpu = map(float, done.stdout.split()[-2:])
    return wall, cpu


if __name__ == "__main__":
    main()
