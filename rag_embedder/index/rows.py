"""Which row number stands at which place of an index, and which places are dead."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_embedder.types import Numbers

Places = NDArray[np.int64]
"""1-D int64: positions in an index's own arrays."""


@dataclass(frozen=True, slots=True)
class Rows:
    """An immutable table: `numbers` (n,) by place, `alive` (n,) bool. `ascending` says that the numbers are sorted."""

    numbers: Numbers
    alive: NDArray[np.bool_]
    num_alive: int
    ascending: bool

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def num_dead(self) -> int:
        """Places that hold a removed row."""
        return len(self.numbers) - self.num_alive

    def live_numbers(self) -> Numbers:
        """Numbers of the rows that are alive, ascending."""
        live = self.numbers[self.alive]
        return live if self.ascending else np.sort(live)

    def places_of(self, wanted: Numbers) -> Places:
        """Places of those of `wanted` that are alive, ascending."""
        if len(wanted) == 0 or len(self.numbers) == 0:
            return np.empty(0, np.int64)
        order = None if self.ascending else np.argsort(self.numbers)
        found = np.searchsorted(self.numbers, wanted, sorter=order)
        inside = found < len(self.numbers)
        places = found[inside] if order is None else order[found[inside]]
        places = places[self.numbers[places] == wanted[inside]]
        return np.sort(places[self.alive[places]])

    def only(self, places: Places) -> "Rows":
        """The table with nothing alive but these places."""
        alive = np.zeros(len(self.numbers), np.bool_)
        alive[places] = True
        return Rows(self.numbers, alive, len(places), self.ascending)

    def without(self, places: Places) -> "Rows":
        """The table with these places dead."""
        alive = self.alive.copy()
        alive[places] = False
        return Rows(self.numbers, alive, int(np.count_nonzero(alive)), self.ascending)


def empty() -> Rows:
    """A table without rows."""
    return Rows(np.empty(0, np.int64), np.empty(0, np.bool_), 0, True)


def of(numbers: Numbers) -> Rows:
    """A table of rows that are all alive."""
    ascending = bool((np.diff(numbers) > 0).all())
    return Rows(numbers, np.ones(len(numbers), np.bool_), len(numbers), ascending)


def joined(old: Rows, numbers: Numbers) -> Rows:
    """The table with rows added at its end."""
    added = of(numbers)
    ascending = (
        old.ascending and added.ascending and (not len(old) or not len(added) or old.numbers[-1] < added.numbers[0])
    )
    return Rows(
        np.concatenate([old.numbers, added.numbers]),
        np.concatenate([old.alive, added.alive]),
        old.num_alive + len(added),
        bool(ascending),
    )
