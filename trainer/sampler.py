"""Which rows of which data set a rank trains on at a step: a function of seed, step and rank, with no state to save.

In one step all ranks work on the same data set, so that in-batch negatives share its corpus (homogeneous batches,
LLM-Embedder, arXiv 2310.07554). Steps fall into rounds; in a round of weight 1 a data set gives each row once, but for
the remainder that does not fill a batch of all ranks, and other rows remain in the next round.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rag_embedder.errors import ConfigError, InputError
from rag_embedder.registry import unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One rank's rows at one step. `epoch` counts how often the data set was gone through before."""

    dataset: str
    epoch: int
    rows: Sequence[int]


class HomogeneousSampler:
    """Mixes data sets in proportion to their size times their weight.

    `sizes` are numbers of rows by data set, `batch_size` is rows per rank. A weight of 2 goes through a data set twice
    per round. The order of the data sets plays no part. The same seed gives the same rows on every machine.

    Raises:
        ConfigError: if `batch_size` is below 1, a weight is not above 0 or of no data set, or there is no data set.
    """

    def __init__(
        self, sizes: Mapping[str, int], *, batch_size: int, seed: int, weights: Mapping[str, float] | None = None
    ) -> None:
        self._sizes = dict(sorted(sizes.items()))
        self._batch_size = batch_size
        self._seed = seed
        self._weights = {name: (weights or {}).get(name, 1.0) for name in self._sizes}
        if not self._sizes:
            raise ConfigError("there is no data set to train on; expected at least one.")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected 1 or more.")
        for name in weights or {}:
            if name not in self._sizes:
                raise unknown_name("data set in weights", name, list(self._sizes))
        for name, weight in self._weights.items():
            if not 0 < weight < float("inf"):
                raise ConfigError(f"data.{name}.weight is {weight}; expected a number above 0.")
        # Of this object alone, so that two samplers never push out each other's order.
        self._round = lru_cache(maxsize=2)(self._make_round)
        self._order = lru_cache(maxsize=2 * len(self._sizes))(self._make_order)

    def check(self, world_size: int = 1) -> None:
        """Refuse data sets that do not fill one batch of all ranks: they would never be trained on.

        Raises:
            ConfigError: it names every such data set, its size and what would be needed.
        """
        needed = self._batch_size * world_size
        small = [f"{name} ({size} rows)" for name, size in self._sizes.items() if size < needed]
        if small:
            raise ConfigError(
                f"too small for one batch of {self._batch_size} x {world_size} processes = {needed} rows: "
                f"{', '.join(small)}; lower train.batch_size, raise data.NAME.max_examples, add examples, or join "
                "data sets of one scenario into one folder."
            )

    def steps_per_round(self, world_size: int = 1) -> int:
        """The number of steps in which a data set of weight 1 is gone through once."""
        return sum(self._slots(world_size).values())

    def batch_at(self, step: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """The rows of `rank` at `step`, which counts from 0. The ranks of a step have the same data set, no row twice.

        Raises:
            ConfigError: if a data set is smaller than `batch_size` x `world_size`.
            InputError: if the step is negative or there is no such rank.
        """
        if step < 0 or not 0 <= rank < world_size:
            raise InputError(
                f"got step {step}, rank {rank} of {world_size}; expected a step from 0, a rank below {world_size}."
            )
        slots = self._slots(world_size)
        past_rounds, position = divmod(step, sum(slots.values()))
        name, nth_in_round = self._round(past_rounds, world_size)[position]
        batch_rows = self._batch_size * world_size
        nth = past_rounds * slots[name] + nth_in_round
        epoch, nth_in_epoch = divmod(nth, self._sizes[name] // batch_rows)
        start = nth_in_epoch * batch_rows + rank * self._batch_size
        rows = self._order(name, epoch)[start : start + self._batch_size]
        return Batch(dataset=name, epoch=epoch, rows=tuple(rows.tolist()))

    def _slots(self, world_size: int) -> dict[str, int]:
        """Steps per round by data set; whole numbers, so a weight is met to half a step."""
        self.check(world_size)
        batch_rows = self._batch_size * world_size
        return {name: max(1, round(self._weights[name] * (size // batch_rows))) for name, size in self._sizes.items()}

    def _make_round(self, past_rounds: int, world_size: int) -> list[tuple[str, int]]:
        """Per step of a round: its data set, and how many steps that data set had in this round before."""
        slots = self._slots(world_size)
        names = [name for name, count in slots.items() for _ in range(count)]
        seen = dict.fromkeys(slots, 0)
        steps = []
        for i in seeded_order(len(names), self._seed, "round", past_rounds):
            steps.append((names[i], seen[names[i]]))
            seen[names[i]] += 1
        return steps

    def _make_order(self, name: str, epoch: int) -> np.ndarray:
        return seeded_order(self._sizes[name], self._seed, "rows", name, epoch)


def seeded_order(size: int, *key: str | int) -> np.ndarray:
    """A permutation of range(size), shape (size,), that depends on nothing but the key.

    Sorting the generator's raw numbers, whose stream NumPy keeps, gives the same order with every version of NumPy;
    `Generator.permutation` does not promise that.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    numbers = np.random.PCG64(int.from_bytes(digest, "big")).random_raw(size)
    return np.argsort(numbers, kind="stable")
