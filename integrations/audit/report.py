"""What an audit found, as a record that people and programs can read."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self

from rag_embedder.errors import ConfigError

SeenAs = Literal["query", "document", "both", "not seen", "not checked"]
"""What texts of one role were encoded as; "not seen": they were given to the component, and nothing was encoded."""

Caches = Literal["none seen", "keep roles apart", "mix roles", "not checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAudit:
    """Whether queries reached the query side of the encoder and documents the document side.

    `findings` are the reasons not to use the component as it is, each with what to do; `notes` say what could not be
    checked, and why. Safe means: something was seen, and nothing of it was wrong.
    """

    component: str
    """The class of what was audited."""
    kind: str
    queries: SeenAs
    documents: SeenAs
    caches: Caches
    scenarios: tuple[str, ...] = ()
    """The scenarios texts were encoded for; empty where the encoder knows none."""
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_safe(self) -> bool:
        """No findings, and at least one role was seen to reach its own side."""
        return not self.findings and (self.queries == "query" or self.documents == "document")

    def raise_if_unsafe(self) -> Self:
        """This audit, for chaining.

        Raises:
            ConfigError: with the findings, unless `is_safe`.
        """
        if not self.is_safe:
            raise ConfigError(str(self))
        return self

    def to_json(self) -> str:
        """All fields and `is_safe`, as a JSON object."""
        return json.dumps({**asdict(self), "is_safe": self.is_safe})

    def __str__(self) -> str:
        lines = [
            f"{self.component} ({self.kind}): {'safe' if self.is_safe else 'NOT SAFE'}",
            f"  queries are encoded as: {self.queries}",
            f"  documents are encoded as: {self.documents}",
            f"  caches: {self.caches}",
            f"  scenarios: {', '.join(self.scenarios) or 'none seen'}",
            *(f"  finding: {finding}" for finding in self.findings),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def first_line(fault: BaseException) -> str:
    """Class and message of a fault, as far as they fit into a sentence."""
    message = next(iter(str(fault).splitlines()), "")
    return f"{type(fault).__name__}: {message[:200]}" if message else type(fault).__name__
