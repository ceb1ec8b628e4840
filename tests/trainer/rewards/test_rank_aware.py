"""Rank rewards: a case worked by hand, their properties, and a real model against single passes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.language_model import Continuation, Sampling, Score
from evals.language_model.local import LocalLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import ConfigError
from tests.tiny_language_models import make_language_model, make_tokenizer
from trainer.examples import Candidate, Example
from trainer.rewards import RewardOptions
from trainer.rewards.rank_aware import RankAwareReward, rank_of, rank_reward
from trainer.templates import TEMPLATES

OUTPUTS = {"a": " a", "b": " b", "c": " c", "right": " right"}
# Log-likelihoods of the three sampled outputs and of the expected one: nothing retrieved, C1 and C2.
LIKELIHOODS = {
    "": {"a": -1.0, "b": -1.5, "c": -0.8, "right": -2.0},
    "C1": {"a": -1.2, "b": -1.6, "c": -1.1, "right": -0.5},
    "C2": {"a": -0.7, "b": -1.5, "c": -0.8, "right": -2.5},
}


class TableModel:
    """Answers from a table: what was sampled, and how likely each output is after each candidate."""

    name, fingerprint, max_length = "table", "0", 100

    def __init__(self, samples, likelihoods=LIKELIHOODS):
        self.samples, self.likelihoods = samples, likelihoods
        self.prompts, self.seeds, self.requests = [], [], []

    def tokenize(self, texts):
        return [list(range(len(text.split()))) for text in texts]

    def count_tokens(self, texts):
        return [len(ids) for ids in self.tokenize(texts)]

    def sample(self, prompts, sampling, *, seeds, max_length=None):
        self.prompts += prompts
        self.seeds += seeds
        return [list(self.samples(prompt)) for prompt in prompts]

    def log_likelihoods(self, requests, *, max_length=None):
        self.requests += requests
        return [
            Score(2 * self.likelihoods[_candidate(each.context)][each.continuation.strip()], 2, False)
            for each in requests
        ]


def _candidate(context):
    return next((name for name in LIKELIHOODS if name and f"Knowledge: {name}\n" in context), "")


def example(**changes):
    candidates = [Candidate(id="d1", text="C1"), Candidate(id="d2", text="C2")]
    return Example(**{"id": "q", "query": "who", "answers": ["right"], "candidates": candidates, **changes})


def reward_of(lm, **options):
    return RankAwareReward(lm, TEMPLATES["qa"], RewardOptions(scenario="qa", **options))


def test_the_worked_case():
    values = {name: list(each.values()) for name, each in LIKELIHOODS.items()}
    ranks = {name: rank_of(each[-1], each[:-1]) for name, each in values.items()}
    assert ranks == {"": 4, "C1": 1, "C2": 4}
    assert (rank_reward(ranks[""], ranks["C1"]), rank_reward(ranks[""], ranks["C2"])) == (3, 0)
    lm = TableModel(lambda prompt: ["a", "b", "c"])
    assert reward_of(lm).rewards([example()]) == [[3, 0]]


def test_samples_that_say_the_same_or_what_is_expected_do_not_count():
    lm = TableModel(lambda prompt: ["a", " A.", "", "Right!", "b", "c", " "])
    assert reward_of(lm).rewards([example()]) == [[3, 0]]
    asked = {request.continuation for request in lm.requests}
    assert asked == {" right", " a", " b", " c"}
    assert len(lm.requests) == 3 * 4
    lm = TableModel(lambda prompt: ["right"])
    assert reward_of(lm).rewards([example()]) == [[0, 0]]


def test_a_shared_pool_is_sampled_once_and_a_separate_one_after_every_candidate():
    shared = TableModel(lambda prompt: ["a", "b", "c"])
    reward_of(shared, seed=5).rewards([example(), example(id="p")])
    assert shared.seeds == ["5 q", "5 p"]
    assert shared.prompts == ["Question: who\n\nAnswer:"] * 2
    separate = TableModel(lambda prompt: ["a", "b", "c"] if "Knowledge" not in prompt else ["a"])
    # C2: only "a" is sampled, which is likelier, so the rank is 2.
    assert reward_of(separate, seed=5, pool="separate").rewards([example()]) == [[3, 2]]
    assert separate.seeds == ["5 q", "5 q d1", "5 q d2"]


def test_several_expected_outputs_are_ranked_one_by_one():
    likelihoods = {name: {**each, "other": -0.1} for name, each in LIKELIHOODS.items()}
    answers = ["right", "other"]  # "other" is first whatever is retrieved: its reward is 0
    lm = TableModel(lambda prompt: ["a", "b", "c"], likelihoods)
    assert reward_of(lm, answers="max").rewards([example(answers=answers)]) == [[3, 0]]
    assert reward_of(lm, answers="mean").rewards([example(answers=answers)]) == [[1.5, 0]]


def test_the_whole_likelihood_ranks_differently_from_its_mean():
    class Lengths(TableModel):
        def log_likelihoods(self, requests, *, max_length=None):
            # The sample is twice as long: worse as a whole, better per token; after a candidate, worse in both.
            worse = {" a": {"": -3.0, "C1": -9.0, "C2": -3.0}, " right": {"": -2.0, "C1": -2.0, "C2": -2.0}}
            long = {" a": 4, " right": 2}
            return [Score(worse[r.continuation][_candidate(r.context)], long[r.continuation], False) for r in requests]

    assert reward_of(Lengths(lambda prompt: ["a"])).rewards([example()]) == [[1, 0]]
    assert reward_of(Lengths(lambda prompt: ["a"]), normalisation="sum").rewards([example()]) == [[0, 0]]


def test_ties():
    assert rank_of(-1.0, [-1.0, -1.0, -0.5, -2.0]) == 2
    assert rank_of(-1.0, [-1.0, -1.0, -0.5, -2.0], ties="mid") == 3
    assert rank_of(-1.0, []) == 1


scores = st.floats(-50, 0, allow_nan=False)


@given(scores, st.lists(scores, max_size=10), scores, st.lists(scores, max_size=10))
def test_the_reward_is_bounded_and_only_the_order_counts(before, pool_before, after, pool_after):
    def shifted(value, factor):
        return math.ldexp(value, factor)  # exact, so equal stays equal

    most = max(len(pool_before), len(pool_after))
    reward = rank_reward(rank_of(before, pool_before), rank_of(after, pool_after))
    assert -most <= reward <= most
    moved = rank_of(shifted(after, 3), [shifted(each, 3) for each in pool_after])
    assert rank_reward(rank_of(before, pool_before), moved) == reward


@given(
    st.lists(st.integers(-20, 0), min_size=1, max_size=11),
    st.lists(st.integers(-20, 0), min_size=1, max_size=11),
    st.sampled_from([math.exp, lambda x: x**3 - 5, lambda x: -1 / (1 + math.exp(x)), lambda x: 7 * x + 1]),
    st.sampled_from(["optimistic", "mid"]),
)
def test_a_monotone_change_of_the_likelihoods_of_one_condition_changes_no_reward(before, after, change, ties):
    def rank(values):
        return rank_of(values[0], values[1:], ties=ties)

    reward = rank_reward(rank(before), rank(after))
    assert rank_reward(rank(list(map(change, before))), rank(after)) == reward
    assert rank_reward(rank(before), rank(list(map(change, after)))) == reward
    assert 1 - len(after) <= reward <= len(before) - 1


def test_a_real_model_ranks_what_it_samples():
    lm = LocalLanguageModel(
        make_language_model(), TokenizerVocabulary(make_tokenizer()), name="tiny", device="cpu", batch_tokens=400
    )
    one = example(
        query="who is big",
        answers=["paris"],
        candidates=[Candidate(id="d", text="dog"), Candidate(id="e", text="one two")],
    )
    options = RewardOptions(scenario="qa", samples=6, max_new_tokens=3, temperature=0.5)
    found = RankAwareReward(lm, TEMPLATES["qa"], options).rewards([one])[0]
    prompt = "Question: who is big\n\nAnswer:"
    stop = Sampling(count=6, max_new_tokens=3, temperature=0.5, stop=("\n",))
    sampled = {f" {text.strip()}" for text in lm.sample([prompt], stop, seeds=["0 q"])[0] if text.strip()}
    assert len(sampled) > 2

    def rank(context):
        mean = lambda output: -lm.log_likelihoods([Continuation(context, output)])[0].mean_nll  # noqa: E731
        return 1 + sum(mean(output) > mean(" paris") for output in sampled)

    expected = [rank(prompt) - rank(f"Knowledge: {each.text}\n\n{prompt}") for each in one.candidates]
    assert found == expected


def test_a_model_without_room_for_samples_is_refused_before_anything_is_scored():
    lm = LocalLanguageModel(make_language_model(), TokenizerVocabulary(make_tokenizer()), name="tiny", device="cpu")
    with pytest.raises(ConfigError, match="tokens are left for the prompt"):
        reward_of(lm, max_new_tokens=256).check([example()])
    reward_of(lm).check([example()])
