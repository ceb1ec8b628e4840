"""Samples follow the model's own distribution, and depend on their seed alone."""

import itertools
import random

import pytest
import torch

from evals.language_model import Sampling
from evals.language_model.decoding import draw_tokens
from evals.language_model.http_json import JsonClient
from evals.language_model.local import LocalLanguageModel
from evals.language_model.server import ServerLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import ConfigError
from tests.tiny_language_models import POSITIONS, make_language_model, make_tokenizer

PROMPTS = ["the capital of france is", " dog", "one two three"]
SEEDS = ["0 a", "0 b", "0 c"]


def made(architecture="gpt2", **options):
    vocabulary = TokenizerVocabulary(make_tokenizer())
    return LocalLanguageModel(make_language_model(architecture), vocabulary, name="tiny", device="cpu", **options)


def sampled_by_hand(model, ids, stream, *, steps, temperature):
    """One whole pass per token; the first token whose cumulative probability is above the number that was drawn."""
    new = []
    for _ in range(steps):
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *new]])).logits[0, -1].double()
        chances = (logits / temperature).softmax(0).tolist()
        number = stream.random()
        token = next(place for place, reached in enumerate(itertools.accumulate(chances)) if reached > number)
        if token == 2:  # </s>
            break
        new.append(token)
    return new


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("share_prefixes", [True, False])
def test_a_sample_equals_a_loop_over_whole_passes(architecture, share_prefixes):
    lm = made(architecture, share_prefixes=share_prefixes)
    model, tokenizer = make_language_model(architecture), make_tokenizer()
    found = lm.sample(PROMPTS, Sampling(count=3, max_new_tokens=6, temperature=0.7), seeds=SEEDS)
    for prompt, seed, outputs in zip(PROMPTS, SEEDS, found, strict=True):
        ids = tokenizer(prompt)["input_ids"]
        expected = [
            sampled_by_hand(model, ids, random.Random(f"{seed} {copy}"), steps=6, temperature=0.7) for copy in range(3)
        ]
        assert outputs == lm.decode(expected)


def test_neither_the_batch_nor_the_other_prompts_change_a_sample():
    sampling = Sampling(count=4, max_new_tokens=8, top_p=0.9)
    together = made().sample(PROMPTS, sampling, seeds=SEEDS)
    assert made(batch_tokens=1).sample(PROMPTS, sampling, seeds=SEEDS) == together
    assert made().sample(PROMPTS[1:2], sampling, seeds=SEEDS[1:2]) == together[1:2]
    assert made().sample(PROMPTS[1:2], sampling, seeds=["1 b"]) != together[1:2]
    assert len(set(together[0])) > 1


def test_samples_stop_before_the_first_stop_text():
    whole = made().sample(PROMPTS, Sampling(count=2, max_new_tokens=10), seeds=SEEDS)
    stop = whole[0][0][5:7]
    cut = made().sample(PROMPTS, Sampling(count=2, max_new_tokens=10, stop=(stop,)), seeds=SEEDS)
    assert cut == [[text.split(stop)[0] for text in outputs] for outputs in whole]


def test_tokens_are_drawn_by_cumulative_probability():
    logits = torch.tensor([[0.1, 0.5, 0.4]]).log().repeat(5, 1)
    everything = Sampling(count=1, max_new_tokens=1)
    assert draw_tokens(logits, [0.0, 0.0999, 0.11, 0.59, 0.61], everything) == [0, 0, 1, 1, 2]
    # The two likeliest reach 0.9 of 0.8 that were wanted: 0.5/0.9 and 0.4/0.9 are left.
    nucleus = Sampling(count=1, max_new_tokens=1, top_p=0.8)
    assert draw_tokens(logits, [0.0, 0.55, 0.56, 0.9, 0.999], nucleus) == [1, 1, 2, 2, 2]
    cold = Sampling(count=1, max_new_tokens=1, temperature=0.01)
    assert draw_tokens(logits, [1e-6, 0.2, 0.5, 0.9, 0.999], cold) == [1] * 5
    only = Sampling(count=1, max_new_tokens=1, top_p=0.01)
    assert draw_tokens(logits, [0.0, 0.2, 0.5, 0.9, 0.999], only) == [1] * 5


def test_frequencies_are_the_probabilities():
    logits = torch.tensor([[0.1, 0.5, 0.4]]).log().repeat(4000, 1)
    stream = random.Random(3)
    drawn = draw_tokens(logits, [stream.random() for _ in range(4000)], Sampling(count=1, max_new_tokens=1))
    assert [drawn.count(token) / 4000 for token in range(3)] == pytest.approx([0.1, 0.5, 0.4], abs=0.03)


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"max_new_tokens": 0}, {"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .*; expected"):
        Sampling(**{"count": 2, "max_new_tokens": 3, **wrong})


def test_a_server_refuses_to_sample():
    lm = ServerLanguageModel(
        JsonClient("http://localhost:1/v1"), TokenizerVocabulary(make_tokenizer()), model="tiny", max_length=POSITIONS
    )
    with pytest.raises(ConfigError, match=r"cannot be sampled from a server.*expected a local model"):
        lm.sample(["a"], Sampling(count=1, max_new_tokens=1), seeds=["0"])


def test_no_prompts_give_no_samples_and_too_little_room_is_refused():
    lm = made(max_length=10)
    assert lm.sample([], Sampling(count=1, max_new_tokens=3), seeds=[]) == []
    with pytest.raises(ConfigError, match="tokens are left for the prompt"):
        lm.sample([], Sampling(count=1, max_new_tokens=10), seeds=[])
