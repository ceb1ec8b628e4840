"""Positives and negatives by every rule, on records made by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_embedder.errors import ConfigError, InputError
from trainer.examples import Candidate, Example
from trainer.groups import draw_group, why_unusable


def record(labels, rewards=None):
    """Candidates d0, d1, ... with these labels."""
    return Example(
        id="q",
        query="who?",
        candidates=tuple(Candidate(id=f"d{n}", text=f"text {n}", label=label) for n, label in enumerate(labels)),
        rewards=None if rewards is None else tuple(rewards),
    )


LABELLED = record([1, 1, 0, 0, 0], rewards=[0.2, 0.6, 0.9, -1.0, 0.3])


def ids(example, **options):
    return draw_group(example, **{"seed": 0, "epoch": 0, "row": 0, **options}).ids


@pytest.mark.parametrize(
    ("positive", "negatives", "expected"),
    [
        ("first", "first", ("d0", "d2", "d3", "d4")),
        ("first", "highest", ("d0", "d2", "d4", "d3")),
        ("first", "lowest", ("d0", "d3", "d4", "d2")),
        # the best of all has no label: it is no negative then, and the labelled ones are not used
        ("teacher", "first", ("d2", "d3", "d4")),
        ("teacher", "highest", ("d2", "d4", "d3")),
        ("teacher_positive", "first", ("d1", "d2", "d3", "d4")),
        ("teacher_positive", "lowest", ("d1", "d3", "d4", "d2")),
    ],
)
def test_rules_without_chance(positive, negatives, expected):
    group = draw_group(LABELLED, size=len(expected), positive=positive, negatives=negatives, seed=1, epoch=2, row=3)
    assert group.ids == expected
    assert group.documents == tuple(f"text {id_[1]}" for id_ in expected)
    assert group.rewards == tuple(LABELLED.rewards[int(id_[1])] for id_ in expected)
    assert (group.query_id, group.query) == ("q", "who?")


def test_equal_rewards_go_to_the_earlier_candidate():
    tied = record([0, 0, 0, 0], rewards=[1.0, 2.0, 2.0, 1.0])
    assert ids(tied, size=4, positive="teacher", negatives="highest") == ("d1", "d2", "d0", "d3")
    assert ids(tied, size=4, positive="teacher", negatives="lowest") == ("d1", "d0", "d3", "d2")


def test_without_rewards_the_group_has_none():
    assert draw_group(record([1, 0]), size=2, seed=0, epoch=0, row=0).rewards is None


def test_random_negatives_are_uniform_and_never_labelled():
    example = record([1, 1, 0, 0, 0, 0])
    drawn = [ids(example, size=3, epoch=epoch) for epoch in range(2000)]
    assert all(group[0] == "d0" and len(set(group)) == 3 for group in drawn)
    counts = Counter(id_ for group in drawn for id_ in group[1:])
    assert set(counts) == {"d2", "d3", "d4", "d5"}
    # each of four stands in half of the groups: 1000, with a standard deviation of 22
    assert all(abs(count - 1000) < 120 for count in counts.values())
    pairs = Counter(group[1:] for group in drawn)
    assert len(pairs) == 12


def test_random_positives_are_uniform_over_the_labelled():
    example = record([1, 0, 2, 1])
    counts = Counter(ids(example, size=2, positive="random", row=row)[0] for row in range(1500))
    assert set(counts) == {"d0", "d2", "d3"}
    assert all(abs(count - 500) < 90 for count in counts.values())


def test_all_negatives_come_once_before_any_comes_twice():
    short = record([1, 0, 0, 0])
    for epoch in range(30):
        group = ids(short, size=9, epoch=epoch)
        assert group[0] == "d0"
        assert set(group[1:4]) == {"d1", "d2", "d3"}
        assert group[1:] == (group[1:4] * 3)[:8]


def test_the_same_seed_epoch_and_row_draw_the_same_whatever_came_before():
    example = record([1, 1] + [0] * 20)
    options = {"size": 8, "positive": "random"}
    first = draw_group(example, **options, seed=3, epoch=1, row=9)
    for epoch in range(5):
        draw_group(example, **options, seed=3, epoch=epoch, row=9)
    assert draw_group(example, **options, seed=3, epoch=1, row=9) == first
    # pinned: another version may not change what a run that is resumed sees
    assert first.ids == ("d0", "d17", "d10", "d13", "d3", "d20", "d6", "d21")
    for change in ({"seed": 4}, {"epoch": 2}, {"row": 10}):
        assert draw_group(example, **options, **({"seed": 3, "epoch": 1, "row": 9} | change)) != first


@given(
    st.lists(st.integers(0, 1), min_size=1, max_size=12),
    st.integers(1, 10),
    st.sampled_from(["first", "random", "teacher", "teacher_positive"]),
    st.sampled_from(["random", "first", "highest", "lowest"]),
    st.randoms(use_true_random=False),
)
def test_a_group_is_drawn_exactly_where_nothing_speaks_against_it(labels, size, positive, negatives, chance):
    example = record(labels, rewards=[chance.random() for _ in labels])
    rules = {"size": size, "positive": positive, "negatives": negatives}
    reason = why_unusable(example, **rules)
    if reason is not None:
        with pytest.raises(InputError, match=reason):
            draw_group(example, **rules, seed=0, epoch=0, row=0)
        return
    group = draw_group(example, **rules, seed=0, epoch=0, row=0)
    by_id = {candidate.id: candidate for candidate in example.candidates}
    rewards = dict(zip(by_id, example.rewards, strict=True))
    assert len(group.ids) == len(group.documents) == len(group.rewards) == size
    assert [by_id[id_].text for id_ in group.ids] == list(group.documents)
    assert [rewards[id_] for id_ in group.ids] == list(group.rewards)
    assert all(by_id[id_].label == 0 and id_ != group.ids[0] for id_ in group.ids[1:])
    if positive == "teacher":
        assert group.rewards[0] == max(example.rewards)
    else:
        assert by_id[group.ids[0]].label > 0
    if negatives == "highest":
        unique = list(dict.fromkeys(group.rewards[1:]))
        assert unique == sorted(unique, reverse=True)


@pytest.mark.parametrize(
    ("example", "rules", "reason"),
    [
        (record([0, 0]), {"positive": "first"}, "no candidate with a label above 0"),
        (record([1, 1]), {"positive": "first"}, "no negative"),
        (record([0], rewards=[1.0]), {"positive": "teacher"}, "no negative"),
        (record([1, 0]), {"positive": "teacher"}, "no rewards"),
        (record([1, 0]), {"positive": "first", "negatives": "highest"}, "no rewards"),
        (record([1, 0], rewards=[1.0]), {"positive": "first"}, "1 rewards for 2 candidates"),
        (record([]), {"positive": "first"}, "no candidate with a label above 0"),
        (record([], rewards=[]), {"positive": "teacher"}, "no candidate"),
    ],
)
def test_why_an_example_is_unusable(example, rules, reason):
    assert why_unusable(example, **rules) == reason
    with pytest.raises(InputError, match=rf"^example 'q': {reason}\. Leave it out"):
        ids(example, size=2, **rules)


def test_a_positive_alone_needs_no_negative():
    assert ids(record([1]), size=1) == ("d0",)
    assert why_unusable(record([1]), positive="first", size=1) is None


def test_unknown_rules_and_sizes_are_refused():
    with pytest.raises(ConfigError, match=r"unknown rule for positive 'best'; expected one of: first, random, teacher"):
        ids(LABELLED, size=2, positive="best")
    with pytest.raises(ConfigError, match=r"rule for negatives 'high'.*Did you mean 'highest'"):
        ids(LABELLED, size=2, negatives="high")
    with pytest.raises(ConfigError, match=r"group size: got 0"):
        ids(LABELLED, size=0)
