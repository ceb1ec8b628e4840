"""Which rows a step reads: a function of seed and step, with no state to save."""

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Generic, TypeVar

import numpy as np

from trainer.language_model.documents import Ids, SequenceSource, Weights, generator
from trainer.language_model.packing import PackedRows, pack

_CYCLE = 1000
"""Rows after which every data set has had its share, to a row."""


Rows = TypeVar("Rows", bound=Sized)


class EpochRows(Generic[Rows]):
    """Rows counted over all epochs, each epoch in an order of its own; the one that was asked for last is in memory."""

    def __init__(self, make: Callable[[int], Rows], *, name: str, seed: int) -> None:
        self._make = make
        self._name = name
        self._seed = seed
        self._ends: list[int] = []
        self._order = np.empty(0, dtype=np.int64)
        self._epoch = -1
        self.rows: Rows | None = None

    def find(self, number: int) -> tuple[Rows, int]:
        """The rows of the epoch that row `number` belongs to, and its place among them."""
        while not self._ends or number >= self._ends[-1]:
            self._open(len(self._ends))
            self._ends.append((self._ends[-1] if self._ends else 0) + len(self._order))
        epoch = int(np.searchsorted(self._ends, number, side="right"))
        if epoch != self._epoch:
            self._open(epoch)
        assert self.rows is not None
        return self.rows, int(self._order[number - (self._ends[epoch - 1] if epoch else 0)])

    def _open(self, epoch: int) -> None:
        self.rows = self._make(epoch)
        self._order = generator(self._seed, f"{self._name} rows", epoch).permutation(len(self.rows))
        self._epoch = epoch


class RowStream:
    """The rows of one data set, epoch after epoch."""

    def __init__(self, source: SequenceSource, *, length: int, pad_id: int, seed: int) -> None:
        def packed(epoch: int) -> PackedRows:
            return pack(source.sequences(epoch), length=length, may_be_cut=source.may_be_cut, pad_id=pad_id)

        self._epochs = EpochRows(packed, name=source.name, seed=seed)

    def row(self, number: int) -> tuple[Ids, Weights]:
        """Ids and weights (length + 1,) of the row with this number, counted over all epochs."""
        rows, place = self._epochs.find(number)
        return rows.ids[place], rows.weights[place]

    @property
    def padding_share(self) -> float:
        """Of the epoch that was read last."""
        return self._epochs.rows.padding_share if self._epochs.rows else 0.0


class Shares:
    """Whose turn it is: rows of several data sets in proportion to their weights, every 1,000 rows to a row."""

    def __init__(self, weights: Mapping[str, float], *, seed: int) -> None:
        self._names = sorted(weights)
        self._seed = seed
        self._quotas = _quotas([weights[name] for name in self._names])

    def places(self, step: int, count: int) -> list[tuple[str, int]]:
        """For each of the `count` rows of a step, counted from 0: its data set, and how many rows of it came before."""
        return [self._place(number) for number in range(step * count, (step + 1) * count)]

    def _place(self, number: int) -> tuple[str, int]:
        cycle, position = divmod(number, _CYCLE)
        slots = np.repeat(np.arange(len(self._names)), self._quotas)
        slots = generator(self._seed, "mixture", cycle).permutation(slots)
        chosen = slots[position]
        return self._names[chosen], int(cycle * self._quotas[chosen] + (slots[:position] == chosen).sum())


class Mixture:
    """Rows of several data sets, each set's share by its weight."""

    def __init__(self, streams: Mapping[str, RowStream], weights: Mapping[str, float], *, seed: int) -> None:
        self._streams = dict(streams)
        self._shares = Shares({name: weights[name] for name in streams}, seed=seed)

    def rows(self, step: int, count: int) -> tuple[list[str], Ids, Weights]:
        """Data set of each row, ids and weights (count, length + 1) of a step, counted from 0."""
        places = self._shares.places(step, count)
        rows = [self._streams[name].row(nth) for name, nth in places]
        return [name for name, _ in places], np.stack([ids for ids, _ in rows]), np.stack([each for _, each in rows])


def _quotas(weights: Sequence[float]) -> list[int]:
    """Rows of a cycle per data set, at least one each: whole numbers by largest remainder."""
    exact = [weight * _CYCLE / sum(weights) for weight in weights]
    quotas = [max(1, int(each)) for each in exact]
    remainders = sorted(range(len(exact)), key=lambda place: quotas[place] - exact[place])
    turn = 0
    while sum(quotas) < _CYCLE:
        quotas[remainders[turn % len(quotas)]] += 1
        turn += 1
    while sum(quotas) > _CYCLE:
        quotas[quotas.index(max(quotas))] -= 1
    return quotas
