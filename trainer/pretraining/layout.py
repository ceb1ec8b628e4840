"""One joint pass over a text: before + text + SELF prompt + NEXT prompt, neither prompt seeing the other.

The positions of NEXT begin where those of SELF begin, so that each prompt is as if it alone followed the text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rag_embedder.errors import ConfigError
from rag_embedder.prompt_form import RoleIds, TokenisedForm
from trainer.language_model.documents import Ids
from trainer.pretraining.objective import TASKS, Task


class Shape(NamedTuple):
    """Tokens that both prompts see (`before` and text), of the SELF and of the NEXT prompt; 0 where it is out."""

    shared: int
    own: int
    following: int

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.shared + self.own + self.following


@dataclass(frozen=True, slots=True)
class Span:
    """`count` joint sequences of one shape, behind one another."""

    shape: Shape
    count: int

    @property
    def num_tokens(self) -> int:
        """Tokens in all."""
        return self.count * self.shape.length


@dataclass(frozen=True, slots=True)
class JointSequence:
    """`ids` (shape.length,), the first `num_before` being no text; `targets` are sets of ids, rising, by task."""

    ids: Ids
    num_before: int
    shape: Shape
    targets: Mapping[Task, Ids]


class JointForm:
    """A prompt form for joint passes.

    Raises:
        ConfigError: if texts do not begin alike for queries and documents, or nothing of `max_length` is left to them.
    """

    def __init__(self, name: str, form: TokenisedForm, *, tasks: Sequence[Task], max_length: int) -> None:
        if form.query.before != form.document.before or form.query.joined or form.document.joined:
            raise ConfigError(
                f"model.form {name!r} puts words in front of texts that differ by role or are read as part of them; "
                "expected one with which a text begins alike for both, such as llara or llara-paper."
            )
        prompts: Mapping[Task, RoleIds] = {"self": form.document, "next": form.query}
        self.before = form.document.before
        self.prompts = {task: prompts[task] for task in TASKS if task in tasks}
        self.num_slots = form.document.num_slots
        self.room = max_length - len(self.before) - sum(len(prompt.after) for prompt in self.prompts.values())
        if self.room < 1:
            raise ConfigError(
                f"model.max_length is {max_length}; expected at least {max_length - self.room + 1}: the prompts of "
                f"{name!r} take {max_length - self.room} tokens."
            )

    def sequence(self, text: Ids, targets: Mapping[Task, Ids]) -> JointSequence:
        """A text of at most `room` tokens, with the prompts of the tasks that have something to predict."""
        prompts = {task: prompt.after for task, prompt in self.prompts.items() if len(targets.get(task, ()))}
        ids = np.array([*self.before, *text, *(each for after in prompts.values() for each in after)], dtype=np.int32)
        own, following = (len(prompts.get(task, ())) for task in TASKS)
        shape = Shape(len(self.before) + len(text), own, following)
        return JointSequence(ids, len(self.before), shape, {task: targets[task] for task in prompts})


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """One task of a batch: `slots` (n, slots) are places in the row, `targets` each vector's set of ids."""

    slots: Tensor
    targets: Sequence[Ids]


@dataclass(frozen=True, slots=True)
class JointBatch:
    """Joint sequences as one row without padding, sorted by shape: `ids` and `positions` (tokens,).

    `read` and `predicted` (m,) are the places before each text token, and that token's id.
    """

    ids: Tensor
    positions: Tensor
    spans: Sequence[Span]
    tasks: Mapping[Task, TaskBatch]
    read: Tensor
    predicted: Tensor

    @classmethod
    def of(cls, sequences: Iterable[JointSequence], *, num_slots: int) -> "JointBatch":
        """The batch of these sequences, in the order of their shapes."""
        ordered = sorted(sequences, key=lambda sequence: sequence.shape)
        slots: dict[Task, list[Tensor]] = {task: [] for task in TASKS}
        targets: dict[Task, list[Ids]] = {task: [] for task in TASKS}
        read: list[Tensor] = []
        start = 0
        for sequence in ordered:
            shape = sequence.shape
            ends: Mapping[Task, int] = {"self": start + shape.shared + shape.own, "next": start + shape.length}
            for task in sequence.targets:
                slots[task].append(torch.arange(ends[task] - num_slots, ends[task]))
                targets[task].append(sequence.targets[task])
            # A text that nothing stands before has no first token to predict.
            read.append(torch.arange(start + max(sequence.num_before, 1) - 1, start + shape.shared - 1))
            start += shape.length
        ids = torch.from_numpy(np.concatenate([sequence.ids for sequence in ordered])).long()
        spans = [Span(shape, len(list(group))) for shape, group in groupby(sequence.shape for sequence in ordered)]
        positions = [_positions(span.shape).repeat(span.count) for span in spans]
        tasks = {task: TaskBatch(torch.stack(slots[task]), targets[task]) for task in TASKS if slots[task]}
        places = torch.cat(read)
        return cls(ids, torch.cat(positions), spans, tasks, places, ids[places + 1])


def _positions(shape: Shape) -> Tensor:
    first = torch.arange(shape.shared + shape.own)
    return torch.cat([first, torch.arange(shape.shared, shape.shared + shape.following)])
