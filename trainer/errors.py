"""What training raises on purpose, besides the core's errors."""

from collections.abc import Sequence
from pathlib import Path

from rag_embedder.errors import InputError, RagEmbedderError

_NUM_LISTED = 10


class ExamplesError(InputError):
    """A file or folder of training examples cannot be used; raised before anything is trained, mined or scored.

    Attributes:
        problems: the first problems, each with its file and line where there is one.
        num_problems: how many there are in all.
    """

    def __init__(self, name: str, problems: Sequence[str], num_problems: int | None = None) -> None:
        self.problems = tuple(problems[:_NUM_LISTED])
        self.num_problems = len(problems) if num_problems is None else num_problems
        lines = [f"  - {problem}" for problem in self.problems]
        if self.num_problems > len(self.problems):
            lines.append(f"  ... and {self.num_problems - len(self.problems)} more")
        count = "1 problem" if self.num_problems == 1 else f"{self.num_problems} problems"
        super().__init__("\n".join([f"examples {name}: {count}; nothing of them was used.", *lines]))


class NonFiniteError(RagEmbedderError):
    """A loss, gradient or vector is infinite or not a number. `path`, if any, holds the batch; it taught nothing."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path
