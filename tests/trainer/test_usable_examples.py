"""Which examples are trained on, by reward and by number."""

import pytest

from rag_embedder.errors import ConfigError
from trainer.examples import Candidate, Example
from trainer.usable_examples import Requirements, usable_examples


def example(name, labels, rewards=None):
    candidates = tuple(Candidate(id=f"{name}{n}", text=f"{name} {n}", label=label) for n, label in enumerate(labels))
    return Example(id=name, query=name, candidates=candidates, rewards=rewards)


EXAMPLES = [
    example("a", [1, 0], (2.0, 1.5)),
    example("b", [1, 0], (2.0, -2.0)),
    example("c", [1, 0], (-1.0, -3.0)),
    example("d", [1, 0]),
    example("e", [0, 0], (2.0, 0.0)),
    example("f", [1, 1], (2.0, 0.0)),
]


def names(requirements, **options):
    kept, reasons = usable_examples(EXAMPLES, requirements, **options)
    return "".join(each.id for each in kept), dict(reasons)


def test_no_requirement_but_a_group():
    assert names(Requirements()) == ("abcd", {"no candidate with a label above 0": 1, "no negative": 1})


def test_rewards_that_tell_nothing_apart_or_help_nothing():
    reasons = {"no rewards": 1, "no candidate with a label above 0": 1, "no negative": 1}
    margin = names(Requirements(reward_margin=1.0))
    assert margin == ("bc", {**reasons, "rewards closer than reward_margin": 1})
    least = names(Requirements(min_reward=0.0))
    assert least == ("ab", {**reasons, "highest reward below min_reward": 1})
    # exactly the margin and exactly the least are enough
    assert names(Requirements(reward_margin=0.5, min_reward=-1.0))[0] == "abc"


def test_the_teacher_needs_no_label():
    # in "a", "b" and "c" the labelled one is the best; in "f" both are, so nothing is left as a negative
    assert names(Requirements(positive="teacher")) == ("abce", {"no rewards": 1, "no negative": 1})


def test_a_seeded_part_in_order_that_grows_with_the_limit():
    many = [example(f"q{number:03}", [1, 0]) for number in range(200)]
    drawn = {
        limit: [each.id for each in usable_examples(many, Requirements(max_examples=limit), seed=5)[0]]
        for limit in (10, 50, 200, 300)
    }
    assert len(drawn[10]) == 10
    assert drawn[10] == sorted(drawn[10])
    assert set(drawn[10]) < set(drawn[50])
    assert drawn[200] == drawn[300] == [each.id for each in many]
    # not the first, not the last
    assert drawn[50] not in (drawn[200][:50], drawn[200][-50:])
    kept, reasons = usable_examples(many, Requirements(max_examples=10), seed=6)
    assert [each.id for each in kept] != drawn[10]
    assert reasons == {"beyond max_examples": 190}


def test_a_limit_below_one_is_refused():
    with pytest.raises(ConfigError, match=r"max_examples: got 0"):
        usable_examples(EXAMPLES, Requirements(max_examples=0))
