"""From an example to what one step trains on: a query with one positive and a few other candidates.

Selection as in LLM-Embedder (arXiv 2310.07554), but drawn anew in every epoch, and a candidate is drawn twice only
where there are too few.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal, get_args

from rag_embedder.errors import ConfigError, InputError
from rag_embedder.registry import unknown_name
from trainer.examples import Example

PositiveRule = Literal["first", "random", "teacher", "teacher_positive"]
"""first, random: of the candidates with a label; teacher: the highest reward of all; teacher_positive: of those with
a label."""

NegativeRule = Literal["random", "first", "highest", "lowest"]
"""highest and lowest are by reward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is drawn from one example: `documents`, `ids` and `rewards` have one entry per slot, the positive first."""

    query_id: str
    query: str
    documents: tuple[str, ...]
    ids: tuple[str, ...]
    rewards: tuple[float, ...] | None = None


def draw_group(
    example: Example,
    *,
    size: int,
    positive: PositiveRule = "first",
    negatives: NegativeRule = "random",
    seed: int,
    epoch: int,
    row: int,
) -> Group:
    """The positive and `size` - 1 negatives; the same for the same example, rules, seed, epoch and row.

    Candidates with a label never stand among the negatives, chosen or not. Too few negatives are repeated as a whole,
    in the same order, until the group is full. Equal rewards: the earlier candidate first.

    Args:
        example: with `rewards` if a rule needs them.
        size: documents in the group, the positive included.
        positive: which candidate takes slot 0.
        negatives: which candidates take the other slots, and in which order.
        seed: of the run.
        epoch: counts from 0.
        row: the example's position in its data set.

    Raises:
        ConfigError: for an unknown rule, or a size below 1.
        InputError: if the example has no candidate for the positive, no negative, or lacks rewards.
    """
    _check_rules(size, positive, negatives)
    problem = why_unusable(example, positive=positive, negatives=negatives, size=size)
    if problem is not None:
        raise InputError(f"example {example.id!r}: {problem}. Leave it out (`usable_examples`) or use other rules.")
    # A string, because its hash is the same in every process and on every machine.
    draw = random.Random(f"{seed}/{epoch}/{row}")
    first = _positive(example, positive, draw)
    others = _ordered_negatives(example, first, negatives, draw)
    places = [first, *islice(cycle(others), size - 1)]
    rewards = example.rewards
    return Group(
        query_id=example.id,
        query=example.query,
        documents=tuple(example.candidates[place].text for place in places),
        ids=tuple(example.candidates[place].id for place in places),
        rewards=None if rewards is None else tuple(rewards[place] for place in places),
    )


def why_unusable(
    example: Example, *, positive: PositiveRule, negatives: NegativeRule = "random", size: int = 2
) -> str | None:
    """Why no group can be drawn from an example, for any seed; None if one can."""
    rewards = example.rewards
    if rewards is not None and len(rewards) != len(example.candidates):
        return f"{len(rewards)} rewards for {len(example.candidates)} candidates"
    if rewards is None and (positive in ("teacher", "teacher_positive") or negatives in ("highest", "lowest")):
        return "no rewards"
    num_positives = sum(candidate.label > 0 for candidate in example.candidates)
    num_negatives = len(example.candidates) - num_positives
    if positive == "teacher":
        if not example.candidates:
            return "no candidate"
        num_negatives -= example.candidates[_best(example, range(len(example.candidates)))].label == 0
    elif num_positives == 0:
        return "no candidate with a label above 0"
    return "no negative" if size > 1 and num_negatives < 1 else None


def _check_rules(size: int, positive: str, negatives: str) -> None:
    if size < 1:
        raise ConfigError(f"group size: got {size}; expected 1 or more, the positive included.")
    for kind, rule, rules in (("positive", positive, PositiveRule), ("negatives", negatives, NegativeRule)):
        if rule not in get_args(rules):
            raise unknown_name(f"rule for {kind}", rule, list(get_args(rules)))


def _positive(example: Example, rule: PositiveRule, draw: random.Random) -> int:
    if rule == "teacher":
        return _best(example, range(len(example.candidates)))
    labelled = [place for place, candidate in enumerate(example.candidates) if candidate.label > 0]
    if rule == "teacher_positive":
        return _best(example, labelled)
    return labelled[0] if rule == "first" else draw.choice(labelled)


def _ordered_negatives(example: Example, positive: int, rule: NegativeRule, draw: random.Random) -> list[int]:
    places = [n for n, candidate in enumerate(example.candidates) if candidate.label == 0 and n != positive]
    rewards = example.rewards
    if rule == "random":
        draw.shuffle(places)
    elif rule != "first" and rewards is not None:
        sign = -1 if rule == "highest" else 1
        places.sort(key=lambda place: sign * rewards[place])
    return places


def _best(example: Example, places: Sequence[int]) -> int:
    """The place of the highest reward, the first of equal ones."""
    rewards = example.rewards or ()
    return max(places, key=lambda place: rewards[place])
