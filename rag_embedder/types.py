"""The frozen records that cross module boundaries: what is stored, and what is found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""A 2-D float32 array, one unit row per text: shape (n, dim)."""

Numbers = NDArray[np.int64]
"""A 1-D int64 array of row numbers: the ids that indexes use instead of user ids."""

Metadata = Mapping[str, Any]
"""JSON values by name; only read, never embedded."""

ItemT = TypeVar("ItemT")


def _no_metadata() -> Metadata:
    return {}


@dataclass(frozen=True, slots=True)
class Document:
    """One retrievable text. `id=None` asks for a stable id made from title and text."""

    text: str
    id: str | None = None
    title: str = ""
    metadata: Metadata = field(default_factory=_no_metadata)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a longer text: `text == whole_text[start:end]`.

    `continuation` is the text of the chunk that follows in the same document; memory hits carry it
    because it is what a language model reads next (LLM-Embedder, long-range language modelling).
    """

    id: str
    text: str
    document_id: str
    start: int
    end: int
    title: str = ""
    continuation: str = ""
    metadata: Metadata = field(default_factory=_no_metadata)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a dialogue; `role` is "user" or "assistant" ("system" and "tool" are accepted, not searched)."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One memory of a dialogue: a user turn with the reply that followed. `position` counts from 0 in its session."""

    id: str
    turns: tuple[Turn, ...]
    user: str
    session: str
    position: int

    @property
    def text(self) -> str:
        """The turns as lines, `role: content`."""
        return "\n".join(f"{turn.role}: {turn.content}" for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One worked example for in-context learning. `task` names the data set or kind of question."""

    input: str
    output: str
    task: str = ""
    id: str | None = None
    metadata: Metadata = field(default_factory=_no_metadata)

    @property
    def text(self) -> str:
        """Input, newline, output: the text that is embedded and prompted."""
        return f"{self.input}\n{self.output}"


@dataclass(frozen=True, slots=True)
class Tool:
    """A callable an agent may choose. `parameters` is a JSON Schema object; `original` is the object that was added."""

    name: str
    description: str = ""
    parameters: Metadata = field(default_factory=_no_metadata)
    metadata: Metadata = field(default_factory=_no_metadata)
    original: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Hit(Generic[ItemT]):
    """One retrieved item. `score` is higher-is-better and comparable within one query; `rank` counts from 1.

    Where a reranker ordered, `score` is its own and `retrieval_score` that of the first stage.
    """

    item: ItemT
    id: str
    score: float
    rank: int
    retrieval_score: float | None = None
