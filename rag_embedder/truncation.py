"""What is said of texts that are longer than the model reads."""

import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag_embedder.errors import ConfigError, TextTruncatedError
from rag_embedder.tokenizer import TokenizedText

OnTruncate = Literal["warn", "error"]


class TruncationWarning(UserWarning):
    """Texts were longer than the model reads; their ends were not encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the model would be given: the exact `text` with its instruction and prompt, and how much of it is read.

    Of a text that is too long, the end is cut, and what a prompt form puts behind it stays.
    """

    text: str
    num_tokens: int
    max_length: int

    @property
    def is_truncated(self) -> bool:
        """Whether the end of the text is not read."""
        return self.num_tokens > self.max_length


class Truncation:
    """Counts texts that were cut and warns of the first ones; safe to share between threads.

    Raises:
        ConfigError: if `on_truncate` is neither "warn" nor "error".
    """

    def __init__(self, on_truncate: OnTruncate) -> None:
        self._on_truncate: OnTruncate = _check(on_truncate)
        self._has_warned = False
        self._counting = threading.Lock()
        self.num_truncated = 0

    def checked(self, on_truncate: OnTruncate | None) -> OnTruncate:
        """What is done in one call: as it says, else as always; errors as the class."""
        return self._on_truncate if on_truncate is None else _check(on_truncate)

    def report(
        self, tokenized: Sequence[TokenizedText], max_length: int, on_truncate: OnTruncate, *, first: int = 0
    ) -> None:
        """Count the texts that are cut, and warn once; `first` is the position of the first in the caller's list.

        Raises:
            TextTruncatedError: if there is one and `on_truncate` is "error".
        """
        cut = [place for place, text in enumerate(tokenized) if text.is_truncated]
        if not cut:
            return
        longest = max(tokenized[place].num_tokens for place in cut)
        summary = (
            f"{len(cut)} of {len(tokenized)} texts have more than {max_length} tokens (first: texts[{first + cut[0]}], "
            f"longest: {longest})"
        )
        if on_truncate == "error":
            raise TextTruncatedError(f"{summary}; expected none. Shorten or chunk them. Nothing was encoded.")
        with self._counting:
            self.num_truncated += len(cut)
            is_first, self._has_warned = not self._has_warned, True
        if is_first:
            warnings.warn(
                f"{summary}; their ends are not encoded. This is said once; num_truncated keeps counting.",
                TruncationWarning,
                stacklevel=_frames_of_this_package(),
            )


def _frames_of_this_package() -> int:
    """The `stacklevel` with which a warning of the caller points at the first line outside this package."""
    package = str(Path(__file__).parent)
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        level, frame = level + 1, frame.f_back
    return level


def _check(on_truncate: OnTruncate) -> OnTruncate:
    if on_truncate not in ("warn", "error"):
        raise ConfigError(f"on_truncate: got {on_truncate!r}; expected 'warn' or 'error'.")
    return on_truncate
