"""Memory and time of the bag-of-words loss with its gradients: in chunks, as pre-training does, and from whole logits.

    python benchmarks/pretrain_memory.py [--vectors 512] [--slots 8] [--entries 32000] [--width 384] [--json OUT]

Each of the two is measured in a process of its own: the highest resident memory while it runs, less what the process
held just before, with the inputs in it. The gradients at states and head, which both must hold, are named apart.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.language_model.documents import Ids
from trainer.pretraining.bag_of_words import Head, bag_losses

WAYS = ("chunked", "direct")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=512, help="256 texts of a batch, two tasks")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--entries", type=int, default=32_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--targets", type=int, default=80)
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments)))
        return
    own = [word for word in sys.argv[1:] if not word.startswith("--json") and word != str(arguments.json)]
    runs = {way: [sys.executable, __file__, *own, "--only", way] for way in WAYS}
    found = {way: json.loads(subprocess.run(run, capture_output=True, check=True).stdout) for way, run in runs.items()}
    gradients = (arguments.vectors * arguments.slots + arguments.entries) * arguments.width * 4 / 2**20
    result = found | {
        "logits_mb": arguments.vectors * arguments.slots * arguments.entries * 4 / 2**20,
        "gradients_mb": gradients,
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Peak memory, time and the loss of one way."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    states = torch.randn(arguments.vectors, arguments.slots, arguments.width, requires_grad=True)
    weight = torch.randn(arguments.entries, arguments.width).mul_(0.05).requires_grad_()
    targets = [
        np.sort(draw.choice(arguments.entries, arguments.targets, replace=False)).astype(np.int32)
        for _ in range(arguments.vectors)
    ]
    way: Callable[[Tensor, Tensor, list[Ids]], Tensor] = chunked if arguments.only == "chunked" else direct
    (states.sum() * 0 + weight.sum() * 0).backward()  # the gradients' memory is there before
    before, started = resident(), time.perf_counter()
    loss = way(states, weight, targets)
    loss.backward()
    return {
        "peak_mb": resident() - before,
        "seconds": time.perf_counter() - started,
        "loss": float(loss.detach()) / arguments.vectors,
    }


def chunked(states: Tensor, weight: Tensor, targets: list[Ids]) -> Tensor:
    return bag_losses(states, Head(weight), targets)[0]


def direct(states: Tensor, weight: Tensor, targets: list[Ids]) -> Tensor:
    largest = (states @ weight.T).amax(1).log_softmax(-1)
    wanted = torch.from_numpy(np.stack(targets)).long()
    return -largest.gather(1, wanted).mean(1).sum()


def resident() -> float:
    """The highest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
