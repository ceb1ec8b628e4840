"""From texts to the ids that are read and the span of them that is scored.

Ids are concatenated, never counted on another string: a tokenizer may split "Answer: x" and "Speaker 2: x" in
different places, and then a count of one shifts the span of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from evals.language_model.protocol import Continuation, TextOrIds
from rag_embedder.errors import ConfigError, InputError

_ANCHORS = ("\n", ".")
"""Texts that a continuation is tokenised after, where a tokenizer treats the start of a text specially."""


class Vocabulary(Protocol):
    """Text to ids and back."""

    @property
    def fallback_start(self) -> int | None:
        """The id that stands before a text if the tokenizer puts none there: the start token, or the end token."""
        ...

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Ids of each text, with or without the special tokens of a whole sequence."""
        ...

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each row, special tokens left out."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Ids that are read, and ids that are scored after them; neither is empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


class SpanBuilder:
    """Makes spans for one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        plain, anchor, both = vocabulary.encode(["a", "\na", "\n"], special=False)
        whole = vocabulary.encode(["a"], special=True)[0]
        self._start = tuple(whole[: _position(plain, whole)])
        # SentencePiece and its like put a space before a text; a continuation must not get a second one.
        self._marks_beginnings = anchor != both + plain

    def contexts(self, texts: Sequence[TextOrIds]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(start, rest) of each context: the start survives truncation. Together they hold at least one id.

        Raises:
            ConfigError: for an empty context, if the model knows no token to start from.
        """
        ids = self._ids([text for text in texts if isinstance(text, str)])
        made: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for text in texts:
            start, rest = (self._start, ids[text]) if isinstance(text, str) else ((), tuple(text))
            made.append((start, rest) if start or rest else ((self._fallback(),), ()))
        return made

    def continuations(self, texts: Sequence[TextOrIds]) -> list[tuple[int, ...]]:
        """Ids of each continuation, as they follow other text."""
        asked = list(dict.fromkeys(text for text in texts if isinstance(text, str)))
        ids = self._following(asked) if self._marks_beginnings else self._ids(asked)
        return [ids[text] if isinstance(text, str) else tuple(text) for text in texts]

    def spans(self, requests: Sequence[Continuation], max_length: int) -> list[Span]:
        """One span per request, at most `max_length` ids long, the context cut at its beginning.

        Raises:
            InputError: for a continuation without tokens, or one that leaves no room for context.
        """
        contexts = self.contexts([request.context for request in requests])
        continuations = self.continuations([request.continuation for request in requests])
        spans = []
        for number, ((start, rest), continuation) in enumerate(zip(contexts, continuations, strict=True)):
            if not 1 <= len(continuation) < max_length:
                raise InputError(
                    f"continuation {number} has {len(continuation)} tokens; expected between 1 and {max_length - 1}: "
                    f"the model reads {max_length}, one of which must be context. Continuations are never cut."
                )
            spans.append(Span(_tail(start, rest, max_length - len(continuation)), continuation))
        return spans

    def prompts(self, texts: Sequence[str], max_length: int) -> list[tuple[int, ...]]:
        """Ids of each prompt, cut at the beginning to `max_length`.

        Raises:
            ConfigError: if nothing may be read.
        """
        if max_length < 1:
            raise ConfigError(
                f"generate: {max_length} tokens are left for the prompt; expected 1 or more. "
                "Lower max_new_tokens, or use a model that reads more."
            )
        return [_tail(start, rest, max_length) for start, rest in self.contexts(texts)]

    def _ids(self, texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
        unique = list(dict.fromkeys(texts))
        return dict(zip(unique, map(tuple, self._vocabulary.encode(unique, special=False)), strict=True))

    def _following(self, texts: list[str]) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for anchor in _ANCHORS:
            left = [text for text in texts if text not in found]
            head, *wholes = self._vocabulary.encode([anchor, *(anchor + text for text in left)], special=False)
            for text, whole in zip(left, wholes, strict=True):
                if whole[: len(head)] == head:
                    found[text] = tuple(whole[len(head) :])
        # A text that merges with both anchors is rare; it is then read as the beginning of a text.
        return {**self._ids([text for text in texts if text not in found]), **found}

    def _fallback(self) -> int:
        start = self._vocabulary.fallback_start
        if start is None:
            raise ConfigError(
                "a context is empty and the tokenizer names neither a start nor an end token; expected at least one "
                "token to read: give a context."
            )
        return start


def check_span(ids: Sequence[int], score_from: int, max_length: int) -> None:
    """Raise InputError unless ids[score_from:] can be scored after ids[:score_from]."""
    if len(ids) > max_length or not 1 <= score_from < len(ids):
        raise InputError(
            f"{len(ids)} ids scored from {score_from}; expected at most {max_length} ids, and a beginning between 1 "
            "and the last of them. Cut the ids at their beginning."
        )


def _tail(start: tuple[int, ...], rest: tuple[int, ...], room: int) -> tuple[int, ...]:
    """The start, and as much of the end of the rest as there is room for; something is always kept of both."""
    start = start[: room - 1] if rest else start[:room]
    return start + rest[max(0, len(rest) - (room - len(start))) :]


def _position(part: list[int], whole: list[int]) -> int:
    ends = range(len(whole) - len(part) + 1)
    return next((start for start in ends if whole[start : start + len(part)] == part), 0)
