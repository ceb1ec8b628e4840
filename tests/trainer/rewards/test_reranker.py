"""A cross-encoder's rewards equal its own logits, one pair at a time."""

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from rag_embedder.errors import ConfigError, InputError, ModelLoadError
from tests.tiny_models import make_tokenizer, write_json
from trainer.examples import Candidate, Example
from trainer.rewards import REWARDS, RewardOptions

EXAMPLES = [
    Example(
        id=f"q{number}",
        query=query,
        candidates=[Candidate(id=str(place), text=text) for place, text in enumerate(texts)],
    )
    for number, (query, texts) in enumerate(
        [
            ("where is paris", ["paris is in france", "a dog", "the weather in oslo is rain and snow " * 9]),
            ("cat", ["x"]),
        ]
    )
]


def write_reranker(folder, *, num_labels=1):
    torch.manual_seed(0)
    tokenizer = make_tokenizer("bert")
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=num_labels,
        initializer_range=0.5,
    )
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    BertForSequenceClassification(config).save_pretrained(folder)
    if bars:
        transformers_logging.enable_progress_bar()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    }
    write_json(folder / "tokenizer_config.json", {**names, "tokenizer_class": "BertTokenizer", "model_max_length": 48})
    return folder


def built(folder, **options):
    return REWARDS["reranker"].build(RewardOptions(scenario="qa", reranker=str(folder), device="cpu", **options))


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_rewards_are_the_logits_of_single_pairs(tmp_path, batch_tokens):
    folder = write_reranker(tmp_path / "reranker")
    found = built(folder, batch_tokens=batch_tokens).rewards(EXAMPLES)
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for example, rewards in zip(EXAMPLES, found, strict=True):
        for candidate, reward in zip(example.candidates, rewards, strict=True):
            pair = tokenizer(
                example.query, candidate.text, truncation="only_second", max_length=48, return_tensors="pt"
            )
            with torch.no_grad():
                assert reward == pytest.approx(model(**pair).logits.item(), abs=1e-5)
    assert len({one for each in found for one in each}) == 4


def test_what_cannot_be_scored_is_refused(tmp_path):
    reward = built(write_reranker(tmp_path / "reranker"))
    reward.check(EXAMPLES)
    long = Example(id="long", query="dog " * 45, candidates=EXAMPLES[0].candidates)
    with pytest.raises(InputError, match="example long: the query has 45 tokens; expected less than 45"):
        reward.check([*EXAMPLES, long])
    with pytest.raises(ConfigError, match="gives 3 numbers for a pair; expected 1"):
        built(write_reranker(tmp_path / "three", num_labels=3))
    with pytest.raises(ConfigError, match="reranker: got none"):
        REWARDS["reranker"].build(RewardOptions(scenario="qa"))


def test_an_encoder_without_its_head_is_refused(tiny_folder):
    with pytest.raises(ModelLoadError, match=r"tensors are missing.*classifier"):
        built(tiny_folder)
