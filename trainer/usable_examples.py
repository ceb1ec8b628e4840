"""Which examples of a data set can be trained on, and a seeded part of them."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag_embedder.errors import ConfigError
from trainer.examples import Example
from trainer.groups import NegativeRule, PositiveRule, why_unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What an example must have.

    Args:
        positive: the rule for the positive, see `draw_group`.
        negatives: the rule for the negatives.
        size: documents in a group.
        min_reward: drop examples whose highest reward is below: nothing helps with them.
        reward_margin: drop examples whose rewards are less far apart: nothing can be told apart.
        max_examples: at most so many, a seeded part of those that are left.
    """

    positive: PositiveRule = "first"
    negatives: NegativeRule = "random"
    size: int = 2
    min_reward: float | None = None
    reward_margin: float | None = None
    max_examples: int | None = None


def usable_examples(
    examples: Sequence[Example], requirements: Requirements, *, seed: int = 0
) -> tuple[list[Example], Mapping[str, int]]:
    """The examples to train on, in their order, and how many were left out for which reason.

    Raises:
        ConfigError: if `max_examples` is below 1.
    """
    limit = requirements.max_examples
    if limit is not None and limit < 1:
        raise ConfigError(f"max_examples: got {limit}; expected 1 or more, or none for all.")
    kept: list[Example] = []
    reasons: Counter[str] = Counter()
    for example in examples:
        reason = _reason(example, requirements)
        if reason is None:
            kept.append(example)
        else:
            reasons[reason] += 1
    if limit is not None and len(kept) > limit:
        order = list(range(len(kept)))
        # A smaller limit draws a part of what a larger one does.
        random.Random(f"examples/{seed}").shuffle(order)
        reasons["beyond max_examples"] = len(kept) - limit
        kept = [kept[place] for place in sorted(order[:limit])]
    return kept, dict(reasons)


def _reason(example: Example, requirements: Requirements) -> str | None:
    reason = why_unusable(
        example, positive=requirements.positive, negatives=requirements.negatives, size=requirements.size
    )
    if reason is not None:
        return reason
    needs_rewards = requirements.min_reward is not None or requirements.reward_margin is not None
    if example.rewards is None:
        return "no rewards" if needs_rewards else None
    highest = max(example.rewards)
    if requirements.min_reward is not None and highest < requirements.min_reward:
        return "highest reward below min_reward"
    if requirements.reward_margin is not None and highest - min(example.rewards) < requirements.reward_margin:
        return "rewards closer than reward_margin"
    return None
