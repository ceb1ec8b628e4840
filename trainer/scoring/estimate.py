"""How long scoring will take, from a part of it."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trainer.examples import Example
from trainer.rewards.protocol import Reward

_FIRST_PAIRS = 16
_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """`seconds` for `num_pairs` pairs of `num_examples` examples, from `probed_pairs` that took `probe_seconds`."""

    num_examples: int
    num_pairs: int
    seconds: float
    probed_pairs: int
    probe_seconds: float

    def text(self) -> str:
        """One line."""
        if not self.num_pairs:
            return "nothing is left to score"
        rate = self.num_pairs / self.seconds if self.seconds else float("inf")
        return (
            f"{self.num_pairs:,} pairs of {self.num_examples:,} queries are left: about {duration(self.seconds)} "
            f"({rate:,.0f} pairs/s; measured on {self.probed_pairs} pairs)"
        )


def estimate(
    reward: Reward,
    examples: Sequence[Example],
    *,
    enough_seconds: float = 2.0,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Score more and more of the examples, drawn at random, until one probe takes `enough_seconds`.

    Time is taken to grow with the characters that are read. The first pass of all is not counted: it allocates.
    """
    total = sum(map(_characters, examples))
    order = random.Random(seed).sample(range(len(examples)), len(examples))
    seconds, probed, pairs, wanted, start = 0.0, 0, 0, _FIRST_PAIRS, 0
    if examples:
        reward.rewards([_first_candidate(examples[order[0]])])
    while start < len(order) and seconds < enough_seconds:
        probe, start = _taken(examples, order, start, wanted)
        begin = clock()
        reward.rewards(probe)
        seconds = clock() - begin
        probed = sum(map(_characters, probe))
        pairs = sum(len(example.candidates) for example in probe)
        wanted *= _GROWTH
    num_pairs = sum(len(example.candidates) for example in examples)
    return Estimate(len(examples), num_pairs, seconds * total / max(1, probed), pairs, seconds)


def duration(seconds: float) -> str:
    """Two units: "3 h 20 min", "2 min 5 s", "0.4 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _taken(examples: Sequence[Example], order: Sequence[int], start: int, num_pairs: int) -> tuple[list[Example], int]:
    """Examples from place `start` of the order on, until they have so many pairs; and the place after them."""
    taken: list[Example] = []
    while start < len(order) and sum(len(example.candidates) for example in taken) < num_pairs:
        taken.append(examples[order[start]])
        start += 1
    return taken, start


def _characters(example: Example) -> int:
    around = len(example.prompt or example.query) + max(map(len, example.answers), default=0)
    return sum(len(each.text) + len(each.continuation) + around for each in example.candidates)


def _first_candidate(example: Example) -> Example:
    return replace(example, candidates=example.candidates[:1], rewards=None)
