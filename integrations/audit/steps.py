"""The calls an audit makes, in the order that brings caches to light, by the sync methods or by the async ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from integrations.audit.observing import Encoded, Moment, Observer
from integrations.audit.probe import Probe
from rag_embedder.scenario import Role

Path = Literal["sync", "async"]

_ORDER: Sequence[tuple[Role, int]] = (
    # The first text is a document before it is a query, the second the other way round; each is both twice.
    ("document", 0),
    ("query", 0),
    ("query", 0),
    ("document", 0),
    ("query", 1),
    ("document", 1),
    ("document", 1),
    ("query", 1),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One call: the text in the role it was given, and what was seen until it returned."""

    role: Role
    text: str
    began: Moment
    ended: Moment
    error: Exception | None = None


@dataclass(slots=True)
class Course:
    """The steps of one path, as far as they could be made."""

    path: Path
    observer: Observer
    roles: Sequence[Role]
    """What is checked; steps of other roles are left out."""
    steps: list[Step] = field(default_factory=list)

    def run(self, probe: Probe) -> None:
        """All steps, by the sync methods."""
        for role, text in self._planned():
            with self._step(role, text):
                if role == "query":
                    probe.ask(text)
                else:
                    probe.write(text)

    async def arun(self, probe: Probe) -> None:
        """All steps, by the async methods."""
        for role, text in self._planned():
            with self._step(role, text):
                if role == "query":
                    await probe.aask(text)
                else:
                    await probe.awrite(text)

    def of(self, role: Role, number: int | None = None) -> list[Step]:
        """The steps of a role that succeeded, in order; of one of the two texts only if its number is given."""
        text = None if number is None else self._text(number)
        return [s for s in self.steps if s.role == role and s.error is None and text in (None, s.text)]

    def error_of(self, role: Role) -> Exception | None:
        """Why a role could not be checked, or not to the end."""
        return next((step.error for step in self.steps if step.role == role and step.error is not None), None)

    def encoded(self, step: Step) -> list[Encoded]:
        """What was encoded of the step's text."""
        return self.observer.encoded(step.text, step.began, step.ended)

    def _planned(self) -> Iterator[tuple[Role, str]]:
        for role, number in _ORDER:
            if role in self.roles and self.error_of(role) is None:
                yield role, self._text(number)

    def _text(self, number: int) -> str:
        # One word, which no splitter cuts and no cleaning changes; the paths share no text, as they may share caches.
        return f"{self.observer.mark}{self.path}{number}"

    @contextmanager
    def _step(self, role: Role, text: str) -> Iterator[None]:
        began = self.observer.now()
        error: Exception | None = None
        try:
            yield
        except Exception as fault:  # noqa: BLE001  (any component, any fault; it is reported)
            error = fault
        self.steps.append(Step(role, text, began, self.observer.now(), error))
