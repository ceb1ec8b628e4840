"""A cross-encoder's rewards equal its own logits, one pair at a time."""

import shutil

import pytest
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from rag_embedder import Reranker
from rag_embedder.errors import ConfigError, InputError, ModelLoadError
from rag_embedder.reranker.folder import RerankerSettings, write_reranker_folder
from tests.tiny_rerankers import write_cross_encoder, write_decoder
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


def built(folder, **options):
    return REWARDS["reranker"].build(RewardOptions(scenario="qa", reranker=str(folder), device="cpu", **options))


@pytest.mark.filterwarnings("ignore::rag_embedder.truncation.TruncationWarning")
@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_rewards_are_the_logits_of_single_pairs(tmp_path, batch_tokens):
    folder = write_cross_encoder(tmp_path / "reranker")
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
    reward = built(write_cross_encoder(tmp_path / "reranker"))
    reward.check(EXAMPLES)
    long = Example(id="long", query="dog " * 45, candidates=EXAMPLES[0].candidates)
    with pytest.raises(InputError, match="example long: the query has 45 tokens; expected less than 45"):
        reward.check([*EXAMPLES, long])
    with pytest.raises(ConfigError, match="gives 3 numbers for a pair; expected 1"):
        built(write_cross_encoder(tmp_path / "three", num_labels=3))
    with pytest.raises(ConfigError, match="reranker: got none"):
        REWARDS["reranker"].build(RewardOptions(scenario="qa"))


def test_its_settings_change_with_what_decides_a_reward(tmp_path):
    folder = write_cross_encoder(tmp_path / "reranker")
    first = built(folder).settings
    assert first == built(folder).settings
    assert first["max_length"] == 48
    assert built(folder, max_length=32).settings != first
    assert built(write_cross_encoder(tmp_path / "other", seed=1)).settings != first


def test_a_decoder_that_training_wrote_is_a_teacher_too(tmp_path):
    folder = write_decoder(tmp_path / "decoder")
    settings = RerankerSettings(name="decoder", template="rankllama", max_length=96)
    write_reranker_folder(
        tmp_path / "written", settings, source=folder, write_weights=lambda to: copy_weights(folder, to)
    )
    found = built(tmp_path / "written").rewards(EXAMPLES[1:])
    plain = Reranker.load(folder, template="rankllama", max_length=96)
    assert found[0] == pytest.approx(plain.score("cat", ["x"]).tolist())


def copy_weights(source, to):
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(source / name, to / name)


def test_an_encoder_without_its_head_is_refused(tiny_folder):
    with pytest.raises(ModelLoadError, match=r"tensors are missing.*classifier"):
        built(tiny_folder)
