"""Token sequences to rows of one length, with next to no padding."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.language_model.documents import Ids, TokenSequence, Weights


@dataclass(frozen=True, slots=True)
class PackedRows:
    """`ids` and `weights` (rows, length); padding has weight 0, and is `padding_share` of all tokens."""

    ids: Ids
    weights: Weights
    padding_share: float

    def __len__(self) -> int:
        return len(self.ids)


def pack(sequences: Iterable[TokenSequence], *, length: int, may_be_cut: bool, pad_id: int) -> PackedRows:
    """Rows of `length` + 1 tokens: each of the first `length` is read, each but the first is predicted.

    Sequences that may be cut flow from row to row, the last token of one being the first of the next, so that every
    token is predicted once. Others are put whole, each into the fullest row that has room for it.
    """
    if may_be_cut:
        return _flowing(list(sequences), length, pad_id)
    return _whole(list(sequences), length, pad_id)


def _flowing(sequences: list[TokenSequence], length: int, pad_id: int) -> PackedRows:
    ids = np.concatenate([sequence.ids for sequence in sequences])
    weights = np.concatenate([sequence.weights for sequence in sequences])
    count = max(1, -(-(len(ids) - 1) // length))
    missing = count * length + 1 - len(ids)
    ids = np.concatenate([ids, np.full(missing, pad_id, dtype=np.int32)])
    weights = np.concatenate([weights, np.zeros(missing, dtype=np.float32)])
    places = np.arange(count)[:, None] * length + np.arange(length + 1)
    return PackedRows(ids[places], weights[places], missing / (count * length))


def fill_rows(sizes: Sequence[int], *, room: int) -> list[list[int]]:
    """Numbers of the sequences in each row: every sequence goes whole into the fullest row that has room for it.

    A sequence longer than `room` gets a row of its own.
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (free tokens, row), rising
    for number, size in enumerate(sizes):
        place = bisect_left(rooms, (size, -1))
        if place < len(rooms):
            free, row = rooms.pop(place)
        else:
            free, row = room, len(rows)
            rows.append([])
        rows[row].append(number)
        insort(rooms, (free - size, row))
    return rows


def _whole(sequences: list[TokenSequence], length: int, pad_id: int) -> PackedRows:
    sizes = [len(sequence.ids) for sequence in sequences]
    rows = fill_rows(sizes, room=length + 1)
    ids = np.full((len(rows), length + 1), pad_id, dtype=np.int32)
    weights = np.zeros((len(rows), length + 1), dtype=np.float32)
    for number, row in enumerate(rows):
        start = 0
        for sequence in (sequences[place] for place in row):
            stop = start + len(sequence.ids)
            ids[number, start:stop], weights[number, start:stop] = sequence.ids, sequence.weights
            start = stop
    return PackedRows(ids, weights, (ids.size - sum(sizes)) / max(1, ids.size))
