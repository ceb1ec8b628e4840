"""Rewards beside the plain loop (one pair at a time, all of it read again): ratios inside one run.

    python benchmarks/score_pairs.py [--queries 6] [--candidates 8] [--rounds 3] [--threads 2] [--device cpu]

The language model has random weights and a vocabulary learned from the texts, which are the documentation of the
Python standard library: only the work counts here. "likelihood" is one output for each candidate; "rank_aware" eleven
outputs for each, which share what stands before them. Both sides score the same pairs, and agree.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evals.language_model.local import LocalLanguageModel
from evals.language_model.protocol import Continuation
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.quickstart.standard_library import module_documents
from trainer.templates import TEMPLATES, Template

NUM_OUTPUTS = {"likelihood": 1, "rank_aware": 11}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=6)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    texts = [document.text for document in module_documents()]
    tokenizer = learned_tokenizer(texts)
    model = random_model(len(tokenizer), layers=arguments.layers, width=arguments.width)
    if torch.device(arguments.device).type != "cpu":
        torch.nn.Module.to(model, dtype=torch.bfloat16)
    lm = LocalLanguageModel(model, TokenizerVocabulary(tokenizer), name="random", device=arguments.device)
    rows = []
    for name, num_outputs in NUM_OUTPUTS.items():
        requests = pairs(texts, arguments.queries, arguments.candidates, num_outputs, TEMPLATES["qa"])
        rows.append({"reward": name, **compare(model, tokenizer, lm, requests, arguments.rounds)})
        print(json.dumps(rows[-1]), flush=True)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(json.dumps({"parameters": parameters, "threads": arguments.threads, "device": arguments.device}))


def pairs(
    texts: Sequence[str], queries: int, candidates: int, num_outputs: int, template: Template
) -> list[Continuation]:
    """What is scored: candidates of at most 100 words, questions of about ten, outputs of one to eight."""
    rng = random.Random(0)
    made = []
    for _ in range(queries):
        words = " ".join(rng.choices(texts, k=4)).split()
        question = " ".join(words[:10])
        outputs = [f" {' '.join(rng.choices(words, k=rng.randint(1, 8)))}" for _ in range(num_outputs)]
        for text in rng.choices(texts, k=candidates):
            shortened = " ".join(text.split()[: rng.randint(40, 100)])
            context = template.context.format(candidate=shortened, query=question)
            made += [Continuation(context, output) for output in outputs]
    return made


def compare(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    lm: LocalLanguageModel,
    requests: Sequence[Continuation],
    rounds: int,
) -> dict[str, float]:
    """Pairs per second of both, in turns, and the median of the rounds' ratios."""
    sides: dict[str, Callable[[], list[float]]] = {
        "plain": lambda: plain_loop(model, tokenizer, requests),
        "ours": lambda: [score.log_likelihood for score in lm.log_likelihoods(requests)],
    }
    found = {name: side() for name, side in sides.items()}  # warm, and the same numbers
    off = max(abs(one - other) for one, other in zip(found["plain"], found["ours"], strict=True))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - start)
    ratios = [plain / ours for plain, ours in zip(times["plain"], times["ours"], strict=True)]
    return {
        "pairs": len(requests),
        "plain_pairs_per_s": round(len(requests) / statistics.median(times["plain"]), 1),
        "ours_pairs_per_s": round(len(requests) / statistics.median(times["ours"]), 1),
        "ratio": round(statistics.median(ratios), 2),
        "largest_difference_nats": round(off, 5),
    }


@torch.inference_mode()
def plain_loop(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, requests: Sequence[Continuation]
) -> list[float]:
    """Each pair by itself: all its tokens, all its logits."""
    sums = []
    for request in requests:
        context, output = tokenizer([str(request.context), str(request.continuation)])["input_ids"]
        ids = torch.tensor([context + output], device=model.device)
        rows = model(ids).logits[0, :-1].float().log_softmax(-1)
        sums.append(rows.gather(1, ids[0, 1:, None])[len(context) - 1 :].sum().item())
    return sums


def learned_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 16,000 entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=16_000,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=2048)


def random_model(vocabulary_size: int, *, layers: int, width: int) -> LlamaForCausalLM:
    """A decoder with grouped heads and tied embeddings."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 128),
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


if __name__ == "__main__":
    main()
