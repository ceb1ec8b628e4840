"""A likelihood reward equals a loop over single sequences, for every template, batch and tokenizer."""

import random
from dataclasses import replace

import pytest
import torch

from evals.language_model.local import LocalLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import ConfigError, InputError
from tests.tiny_language_models import make_language_model, make_tokenizer, write_language_model
from trainer.examples import Candidate, Example
from trainer.rewards import REWARDS, RewardOptions
from trainer.rewards.answers import chosen_answers
from trainer.rewards.likelihood import LikelihoodReward
from trainer.templates import TEMPLATES

WORDS = "the capital of france is paris big small dog cat one two three river and who where".split()  # noqa: SIM905


def made(scenario="qa", *, marks_beginnings=False, architecture="gpt2", lm=None, **options):
    lm = lm or {}
    tokenizer = make_tokenizer(marks_beginnings=marks_beginnings)
    model = LocalLanguageModel(
        make_language_model(architecture), TokenizerVocabulary(tokenizer), name="tiny", device="cpu", **lm
    )
    return LikelihoodReward(model, TEMPLATES[scenario], RewardOptions(scenario=scenario, **options))


def some_examples(count=5, *, num_answers=1):
    rng = random.Random(7)
    words = lambda low, high: " ".join(rng.choices(WORDS, k=rng.randint(low, high)))  # noqa: E731
    return [
        Example(
            id=f"q{number}",
            query=words(2, 8),
            answers=[words(1, 4) for _ in range(num_answers)],
            candidates=[
                Candidate(id=f"d{each}", text=words(3, 20), continuation=" " + words(1, 4))
                for each in range(rng.randint(1, 4))
            ],
        )
        for number in range(count)
    ]


def by_hand(context, output, *, marks_beginnings=False, architecture="gpt2"):
    """Log p of each of the output's tokens; its tokens are those of the whole text that follow the context's."""
    tokenizer, model = make_tokenizer(marks_beginnings=marks_beginnings), make_language_model(architecture)
    before, whole = tokenizer(context)["input_ids"], tokenizer(context + output)["input_ids"]
    assert whole[: len(before)] == before
    with torch.no_grad():
        rows = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return [rows[place - 1, whole[place]].item() for place in range(len(before), len(whole))]


@pytest.mark.parametrize("scenario", ["qa", "convsearch", "chat", "icl", "qa-paper"])
@pytest.mark.parametrize("marks_beginnings", [False, True])
def test_the_reward_is_the_mean_over_exactly_the_answers_tokens(scenario, marks_beginnings):
    template, examples = TEMPLATES[scenario], some_examples()
    found = made(scenario, marks_beginnings=marks_beginnings).rewards(examples)
    for example, rewards in zip(examples, found, strict=True):
        assert len(rewards) == len(example.candidates)
        for candidate, reward in zip(example.candidates, rewards, strict=True):
            context = template.with_candidate(example, candidate.text)
            values = by_hand(context, template.output(example.answers[0]), marks_beginnings=marks_beginnings)
            assert reward == pytest.approx(sum(values) / len(values), abs=1e-4)


def test_long_texts_are_read_with_what_follows_the_candidate():
    example = Example(
        id="q",
        query=" the river is",
        answers=[" big and small"],
        candidates=[Candidate(id="d", text="one two three", continuation=" dog cat")],
    )
    values = by_hand("one two three dog cat the river is", " big and small")
    assert made("lrlm").rewards([example]) == [[pytest.approx(sum(values) / len(values), abs=1e-4)]]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("batch_tokens", [1, 100, 100_000])
@pytest.mark.parametrize("share_prefixes", [True, False])
def test_neither_the_batch_nor_shared_prefixes_change_a_reward(architecture, batch_tokens, share_prefixes):
    examples = some_examples(4, num_answers=3)
    reward = made(
        architecture=architecture, answers="max", lm={"batch_tokens": batch_tokens, "share_prefixes": share_prefixes}
    )
    template = TEMPLATES["qa"]
    expected = []
    for example in examples:
        for candidate in example.candidates:
            context = template.with_candidate(example, candidate.text)
            rows = [by_hand(context, template.output(each), architecture=architecture) for each in example.answers]
            expected.append(max(sum(row) / len(row) for row in rows))
    assert [one for each in reward.rewards(examples) for one in each] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("scenario", list(TEMPLATES))
def test_neither_padding_side_nor_batch_change_a_reward(scenario):
    examples = some_examples(4)
    if scenario == "lrlm":  # nothing is put between pieces of one text
        examples = [
            replace(each, query=f" {each.query}", answers=[f" {answer}" for answer in each.answers])
            for each in examples
        ]
    found = []
    for side, batch_tokens in (("left", 64), ("right", 64), ("left", 100_000), ("right", 1)):
        tokenizer = make_tokenizer()
        tokenizer.padding_side = side
        tokenizer.pad_token = tokenizer.eos_token  # as Llama's often is
        model = LocalLanguageModel(
            make_language_model("llama"),
            TokenizerVocabulary(tokenizer),
            name="tiny",
            device="cpu",
            batch_tokens=batch_tokens,
        )
        reward = LikelihoodReward(model, TEMPLATES[scenario], RewardOptions(scenario=scenario))
        found.append([value for each in reward.rewards(examples) for value in each])
    template, expected = TEMPLATES[scenario], []
    for example in examples:
        for candidate in example.candidates:
            context = template.with_candidate(example, candidate.text, candidate.continuation)
            values = by_hand(context, template.output(example.answers[0]), architecture="llama")
            expected.append(sum(values) / len(values))
    for rewards in found:
        assert rewards == pytest.approx(expected, abs=2e-4)


def test_several_answers_count_as_the_best_the_mean_or_one_drawn():
    example = some_examples(1, num_answers=3)[0]
    context = TEMPLATES["qa"].with_candidate(example, example.candidates[0].text)
    sums = [sum(by_hand(context, f" {answer}")) for answer in example.answers]
    reward = lambda rule: made(normalisation="sum", answers=rule).rewards([example])[0][0]  # noqa: E731
    assert reward("max") == pytest.approx(max(sums), abs=1e-4)
    assert reward("mean") == pytest.approx(sum(sums) / 3, abs=1e-4)
    drawn = example.answers.index(chosen_answers(example, "draw", seed=0)[0])
    assert reward("draw") == pytest.approx(sums[drawn], abs=1e-4)


def test_the_drawn_answer_depends_on_seed_and_id_alone():
    examples = [Example(id=f"q{n}", query="q", answers=["a", "b", "c"], candidates=()) for n in range(30)]
    drawn = [chosen_answers(example, "draw", seed=1) for example in examples]
    assert drawn == [chosen_answers(example, "draw", seed=1) for example in examples]
    assert {each for one in drawn for each in one} == {"a", "b", "c"}
    assert drawn != [chosen_answers(example, "draw", seed=2) for example in examples]


def test_a_candidate_loses_its_end_and_nothing_else_does():
    example = Example(
        id="q",
        query="who is the capital",
        answers=["big dog and cat"],
        candidates=[Candidate(id="d", text="one two three four five six seven eight")],
    )
    kept = by_hand("Knowledge: one two three\n\nQuestion: who is the capital\n\nAnswer:", " big dog and cat")
    expected = [[pytest.approx(sum(kept) / 4, abs=1e-4)]]
    assert made(candidate_tokens=3).rewards([example]) == expected
    num_tokens = len(make_tokenizer()("Knowledge: one two three\n\nQuestion: who is the capital\n\nAnswer:").input_ids)
    assert made(max_length=num_tokens + 4).rewards([example]) == expected


def test_examples_that_cannot_be_scored_are_named():
    good, candidates = some_examples(1)[0], [Candidate(id="d", text="dog")]
    reward = made(max_length=12)
    for answers, message in [
        ([], "example bad has no answers.*labels or reranker"),
        (["dog", " "], "example bad has an empty answer"),
        (["dog", "dog " * 12], "example bad: an answer has 12 tokens; expected less than 12.*never cut"),
    ]:
        bad = Example(id="bad", query="q", answers=answers, candidates=candidates)
        with pytest.raises(InputError, match=message):
            reward.check([good, bad])
    reward.check([good])


def test_it_is_built_from_a_folder(tmp_path):
    folder = write_language_model(tmp_path / "lm")
    options = RewardOptions(scenario="icl", lm=str(folder), device="cpu", dtype="float32", seed=4)
    reward = REWARDS["likelihood"].build(options)
    examples = some_examples(2)
    assert reward.rewards(examples) == [pytest.approx(each, abs=1e-5) for each in made("icl").rewards(examples)]
    assert reward.settings["language_model"] == "lm"
    assert reward.settings["template"]["context"] == "{candidate}\n{query}\n"
    with pytest.raises(ConfigError, match="lm: got none"):
        REWARDS["likelihood"].build(RewardOptions(scenario="qa"))


@pytest.mark.parametrize(
    ("name", "value"), [("normalisation", "max"), ("answers", "all"), ("pool", "x"), ("rank_ties", "x"), ("samples", 0)]
)
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name}: got .*; expected"):
        RewardOptions(scenario="qa", **{name: value})
