"""Grades as rewards."""

import pytest

from rag_embedder.errors import InputError
from trainer.examples import Candidate, Example
from trainer.rewards import REWARDS, RewardOptions


def test_rewards_are_the_labels():
    reward = REWARDS["labels"].build(RewardOptions(scenario="tool"))
    labels = [[2, 0, 1], [1]]
    examples = [
        Example(
            id=f"q{n}", query="q", candidates=[Candidate(id=f"d{m}", text="t", label=x) for m, x in enumerate(each)]
        )
        for n, each in enumerate(labels)
    ]
    assert reward.rewards(examples) == labels
    reward.check(examples)
    unlabelled = Example(id="bad", query="q", candidates=[Candidate(id="d", text="t")])
    with pytest.raises(InputError, match="example bad: none of 1 candidates has a label above 0"):
        reward.check([*examples, unlabelled])
