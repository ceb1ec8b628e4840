"""Training steps of ours and of sentence-transformers, in turns on the same batches, or ours alone on a GPU.

    python benchmarks/train_step.py [--steps 8] [--threads 2] [--dtype float32|bfloat16] [--json OUT]
    python benchmarks/train_step.py --gpu [--steps 20] [--json OUT]

On the CPU: the shipped base, 32 queries of 8 candidates, contrastive loss over all documents of the batch, AdamW. Texts
are the documentation of the Python standard library. Both begin with the same weights, without dropout, and see the
same batches in the same order, so the losses can be compared step by step. The figure is the ratio of the median times.
With `--dtype bfloat16` both run under autocast.

On a GPU: a BERT-base shape with random weights, texts of 256 tokens, 100 queries of 8 candidates, bfloat16.

The ceiling is the rate of a large matrix product of that type on the same device; the share is 6 x weights x tokens
plus attention (12 x layers x width x the sum of squared lengths) per second over it.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from rag_embedder.model_source import base_folder
from rag_embedder.quickstart.standard_library import module_documents
from trainer.gradient_cache import backward
from trainer.losses.batch_scores import student_scores
from trainer.model import TrainableEncoder
from trainer.optim import make_adamw

TEMPERATURE = 0.05
RATE = 2e-5
Texts = tuple[list[str], list[str]]
"""B queries, and B * G documents ordered by query, the positive first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=0, help="texts per chunk of gradient caching; 0: all at once")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="on the CPU")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    queries = arguments.queries or (100 if arguments.gpu else 32)
    result = (
        on_gpu(arguments.steps, queries, arguments.group, arguments.chunk)
        if arguments.gpu
        else compare(arguments.steps, queries, arguments.group, arguments.dtype)
    )
    device = torch.cuda.get_device_name() if arguments.gpu else platform.processor() or platform.machine()
    result |= {"device": device, "threads": arguments.threads, "torch": torch.__version__, "steps": arguments.steps}
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def compare(steps: int, queries: int, group: int, dtype: str) -> dict[str, object]:
    """Times and losses of both, step by step in turns; the first step warms up and is not timed."""
    batches = make_batches(steps + 1, queries, group)
    step_of_ours, encoder = ours(group, dtype)
    step_of_theirs = theirs(dtype)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    losses: dict[str, list[float]] = {"ours": [], "theirs": []}
    operations = 0
    for texts in batches[1:]:
        operations += work_of(encoder, [len(ids) for ids in {tuple(ids) for ids in tokens_of(encoder, texts)}])
    for number, batch in enumerate(batches):
        turns = [("ours", step_of_ours), ("theirs", step_of_theirs)]
        for name, step in turns if number % 2 else turns[::-1]:
            start = time.perf_counter()
            losses[name].append(step(batch))
            if number:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "ratio": medians["theirs"] / medians["ours"],
        "dtype": dtype,
        "examples_per_second": {name: queries / value for name, value in medians.items()},
        "share_of_ceiling": operations / sum(times["ours"]) / matrix_ceiling("cpu", getattr(torch, dtype), size=2048),
        "losses": losses,
        "padding": encoder.padding.share,
        "largest_loss_difference": max(abs(a - b) for a, b in zip(losses["ours"], losses["theirs"], strict=True)),
    }


def make_batches(count: int, queries: int, group: int) -> list[Texts]:
    """Real texts of unequal length: the first sentence of an entry asks for the entry, the next ones are negatives."""
    passages = [document.text for document in module_documents() if len(document.text) > 80]
    batches = []
    for number in range(count):
        chosen = [passages[(number * queries * group + place) % len(passages)] for place in range(queries * group)]
        batches.append(([text.split(". ")[0][:200] for text in chosen[::group]], chosen))
    return batches


def ours(group: int, dtype: str) -> tuple[Callable[[Texts], float], TrainableEncoder]:
    """A step of `trainer` on texts, and its encoder."""
    encoder = TrainableEncoder.load(device="cpu", scenarios="none", max_length=256, dtype=dtype)
    optimizer = make_adamw(encoder, learning_rate=RATE, weight_decay=0.01)

    def step(batch: Texts) -> float:
        token_ids = tokens_of(encoder, batch)
        optimizer.zero_grad()
        loss = backward(encoder, token_ids, lambda rows: contrastive(rows, len(batch[0]), group), chunk=0)
        optimizer.step()
        return float(loss)

    return step, encoder


def tokens_of(encoder: TrainableEncoder, batch: Texts) -> list[list[int]]:
    """Ids of the queries, then of the documents."""
    return [*encoder.tokenize(batch[0], "qa", "query"), *encoder.tokenize(batch[1], "qa", "document")]


def work_of(encoder: TrainableEncoder, lengths: list[int]) -> int:
    """Floating-point operations of the layers, forward and backward, for texts of these lengths."""
    config = encoder.model.config
    assert not isinstance(config, Tensor | torch.nn.Module)
    weights = sum(w.numel() for name, w in encoder.named_parameters() if "encoder.layer" in name and w.ndim == 2)
    squares = sum(length**2 for length in lengths)
    return 6 * weights * sum(lengths) + 12 * config.num_hidden_layers * config.hidden_size * squares


def theirs(dtype: str) -> Callable[[Texts], float]:
    """A step as sentence-transformers' trainer does it: one column of texts at a time, each padded to its longest."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(str(base_folder()), device="cpu")
    model.max_seq_length = 256
    loss_of = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    model.eval()  # no dropout, as ours
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    no_labels = torch.empty(0)

    def step(batch: Texts) -> float:
        group = len(batch[1]) // len(batch[0])
        columns = [batch[0], *(batch[1][slot::group] for slot in range(group))]
        features = [model.preprocess(column) for column in columns]
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = loss_of(features, no_labels)
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def contrastive(rows: Tensor, queries: int, group: int) -> Tensor:
    """Mean over queries of the cross entropy of their first document against all documents of the batch."""
    scores = student_scores(rows[:queries], rows[queries:], temperature=TEMPERATURE)
    targets = torch.arange(0, queries * group, group, device=rows.device)
    return torch.nn.functional.cross_entropy(scores, targets)


def on_gpu(steps: int, queries: int, group: int, chunk: int) -> dict[str, object]:
    """Tokens per second and the share of the measured matrix ceiling, forward and backward and update."""
    length = 256
    encoder = bert_base(length)
    optimizer = make_adamw(encoder, learning_rate=RATE, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        ids = torch.randint(5, 30_000, (queries * (group + 1), length), generator=generator).tolist()
        optimizer.zero_grad()
        backward(encoder, ids, lambda rows: contrastive(rows, queries, group), chunk=chunk)
        optimizer.step()

    seconds = statistics.median(_timed(step) for _ in range(steps + 3))
    tokens = queries * (group + 1) * length
    rate = work_of(encoder, [length] * (queries * (group + 1))) / seconds
    ceiling = matrix_ceiling("cuda", torch.bfloat16)
    return {
        "share_of_ceiling": rate / ceiling,
        "tflops": rate / 1e12,
        "ceiling_tflops": ceiling / 1e12,
        "seconds_per_step": seconds,
        "examples_per_second": queries / seconds,
        "tokens_per_second": tokens / seconds,
        "padding": encoder.padding.share,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def bert_base(length: int) -> TrainableEncoder:
    """Random weights in the shape of BERT-base, with the shipped base's tokenizer, on the GPU."""
    from transformers import AutoModel, BertConfig

    from rag_embedder.model_folder import read_settings
    from rag_embedder.tokenizer import TextTokenizer

    folder = base_folder()
    settings = read_settings(folder)
    tokenizer = TextTokenizer.from_folder(folder, max_length=length)
    model = AutoModel.from_config(BertConfig()).to("cuda")
    with tempfile.TemporaryDirectory() as here:
        return TrainableEncoder(model, tokenizer, settings, folder=Path(here), base_hash="random", dtype="bfloat16")


def matrix_ceiling(device: str, dtype: torch.dtype, *, size: int = 8192, rounds: int = 20) -> float:
    """Floating-point operations per second of a square product."""
    left = torch.randn(size, size, device=device, dtype=dtype)
    right = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(_timed(lambda: left @ right) for _ in range(rounds))


def _timed(run: Callable[[], object]) -> float:
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
