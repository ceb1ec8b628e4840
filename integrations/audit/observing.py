"""What really happens to one text: each time it is encoded, and as what."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from integrations.audit.inside import objects_inside
from integrations.audit.methods import Asked, role_methods, writing_methods
from integrations.audit.watched_calls import EndOfCall, watch_methods
from rag_embedder.scenario import Role
from rag_embedder.watching import Encoding, watch_encodings

_ON_BEHALF: "ContextVar[tuple[Observer, ...]]" = ContextVar("rag_embedder_audits", default=())
"""The audits whose text the running call is about: what it writes to a cache is theirs."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text was encoded, as what, and, where an object that is not ours did it, with what result."""

    role: Role
    scenario: str | None = None
    vector: "np.ndarray[Any, Any] | None" = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: how many calls had begun or ended, and how many encodings there had been."""

    clock: int
    num_encodings: int


@dataclass(slots=True, eq=False)
class _Call:
    """One call of an embedding object with a text of the audit."""

    owner: object
    method: str
    role: Role
    text: str
    position: int | None
    """Where the text stood in the list that was given; None if it was given by itself."""
    scenario: str | None
    began: Moment
    ended: Moment | None = None
    result: object = None

    def holds(self, other: "_Call") -> bool:
        """Whether the other call was made, with the same text, while this one was running."""
        if self.ended is None or not (self.text in other.text or other.text in self.text):
            return False
        return self.began.clock < other.began.clock < self.ended.clock


class Observer:
    """Collects what becomes of texts that hold `mark`, on all threads; other texts are let through unseen."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.unwatched: list[str] = []
        """Classes of embedding objects whose calls cannot be seen."""
        self._calls: list[_Call] = []
        self._encodings: list[Encoding] = []
        self._written: list[tuple[Any, str, Sequence[Any]]] = []
        self._clock = 0
        self._lock = threading.Lock()

    @contextmanager
    def watching(self, component: object) -> Iterator[None]:
        """Watch every `Embedder`, and the embedding objects and caches inside the component, while the block runs."""
        with ExitStack() as watches:
            self._encodings = watches.enter_context(watch_encodings())
            for found in list(objects_inside(component)):
                roles = role_methods(found)
                writers = writing_methods(found)
                try:
                    if roles:
                        watches.enter_context(watch_methods(found, tuple(roles), partial(self._on_encode, roles)))
                    if writers:
                        watches.enter_context(watch_methods(found, writers, self._on_write))
                except (AttributeError, TypeError):
                    self.unwatched.append(type(found).__name__)
            yield

    def now(self) -> Moment:
        """The present, to ask about what came after it or before it."""
        with self._lock:
            self._clock += 1
            return Moment(self._clock, len(self._encodings))

    def asked(self, text: str, since: Moment, until: Moment) -> list[Asked]:
        """The methods of embedding objects that were given the text from outside, each once."""
        calls = self._calls_between(text, since, until)
        outer = [call for call in calls if not any(other.holds(call) for other in calls)]
        return list(dict.fromkeys(Asked(type(call.owner).__name__, call.method, call.role) for call in outer))

    def encoded(self, text: str, since: Moment, until: Moment) -> list[Encoded]:
        """Each time the text was encoded.

        A method that was ever seen to pass a text on to another does not count, also where it did not because it found
        a vector in its cache: what encodes is the innermost. Complete once the block of `watching` has ended.
        """
        passing = self._passing()
        found = [
            Encoded(encoding.role, encoding.scenario)
            for encoding in self._encodings[since.num_encodings : until.num_encodings]
            if any(text in encoded for encoded in encoding.texts)
        ]
        for call in self._calls_between(text, since, until):
            if (id(call.owner), call.method) not in passing:
                found.append(Encoded(call.role, call.scenario, _vector(call.result, call.position)))
        return found

    def forget_written(self) -> list[str]:
        """Take out of the caches what the texts left there; returns the classes of caches where that failed."""
        failed = []
        for cache, method, arguments in reversed(self._written):
            try:
                if method in ("mset", "amset"):
                    cache.mdelete([key for key, _ in arguments[0]])
                else:
                    key, _, *collection = arguments
                    cache.delete(key, *collection)
            except Exception:  # noqa: BLE001  (any cache, any fault; it is reported)
                failed.append(type(cache).__name__)
        self._written.clear()
        return list(dict.fromkeys(failed))

    def _on_encode(
        self, roles: Mapping[str, Role], owner: object, method: str, arguments: tuple[Any, ...]
    ) -> EndOfCall | None:
        given = arguments[0] if arguments else None
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list | tuple):
            return None
        marked = [position for position, text in enumerate(texts) if isinstance(text, str) and self.mark in text]
        if not marked:
            return None
        scenario = next((given for given in arguments[1:2] if isinstance(given, str)), None)
        began = self.now()
        calls = [
            _Call(owner, method, roles[method], texts[at], None if isinstance(given, str) else at, scenario, began)
            for at in marked
        ]
        with self._lock:
            self._calls += calls
        token = _ON_BEHALF.set((*_ON_BEHALF.get(), self))

        def end(result: object) -> None:
            _ON_BEHALF.reset(token)
            ended = self.now()
            for call in calls:
                call.ended, call.result = ended, result

        return end

    def _on_write(self, cache: object, method: str, arguments: tuple[Any, ...]) -> None:
        if self in _ON_BEHALF.get():
            with self._lock:
                self._written.append((cache, method, arguments))

    def _calls_between(self, text: str, since: Moment, until: Moment) -> list[_Call]:
        return [call for call in self._calls if text in call.text and since.clock < call.began.clock < until.clock]

    def _passing(self) -> set[tuple[int, str]]:
        passing = {(id(call.owner), call.method) for call in self._calls if self._passes_on(call)}
        # LlamaIndex's public methods look into the cache and then call those with an underscore.
        below = {id(call.owner) for call in self._calls if call.method.startswith("_")}
        public = [call for call in self._calls if not call.method.startswith("_")]
        return passing | {(id(call.owner), call.method) for call in public if id(call.owner) in below}

    def _passes_on(self, call: _Call) -> bool:
        if any(call.holds(other) for other in self._calls):
            return True
        if call.ended is None:
            return False
        inside = self._encodings[call.began.num_encodings : call.ended.num_encodings]
        return any(self.mark in text for encoding in inside for text in encoding.texts)


def _vector(result: object, position: int | None) -> "np.ndarray[Any, Any] | None":
    try:
        return np.asarray(result if position is None else result[position], dtype=np.float64)  # pyright: ignore
    except (TypeError, ValueError, IndexError, KeyError):
        return None
