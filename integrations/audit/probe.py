"""`Probe`: how one kind of component is asked, written to and cleaned up."""

import secrets
from collections.abc import Sequence
from typing import Any

from integrations.audit.methods import Asked

PREFIX = "rag-embedder-audit-"
"""Every id, key, namespace and user of an audit begins with it."""


class Probe:
    """A component with the few calls an audit makes. Subclasses say how; `tag` is unique to one audit.

    Several texts may be written; `remove` takes all of them out again.
    """

    kind = "component"
    role_advice = "Give it an encoder that tells the two roles apart, such as RagEmbeddings or RagEmbedding."
    cache_advice = "Leave the cache out, or give queries one of their own."
    has_two_scenarios = False
    """Whether it is made of two kinds of documents, each with a scenario of its own."""

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401  (any kind of component)
        self.component = component
        self.tag = tag
        self.reading_options: dict[str, Any] = {}
        """What must be said when asking, such as the user of what was written."""

    def why_not_ask(self) -> str:
        """Why queries cannot be checked; empty if they can."""
        return ""

    def why_not_write(self) -> str:
        """Why documents cannot be checked at all; empty if they can."""
        return ""

    def why_not_remove(self) -> str:
        """Why what is written would stay; empty if it can be removed, or if nothing is kept."""
        return ""

    def home_loop(self) -> object | None:
        """The one event loop its async methods may run on; None if any will do."""
        return None

    def ask(self, text: str) -> None:
        """Use the text as a query."""
        raise NotImplementedError

    async def aask(self, text: str) -> None:
        """The same, by the async methods."""
        raise NotImplementedError

    def write(self, text: str) -> None:
        """Use the text as a document."""
        raise NotImplementedError

    async def awrite(self, text: str) -> None:
        """The same, by the async methods."""
        raise NotImplementedError

    def remove(self) -> None:
        """Take out what was written."""

    def advice(self, asked: Sequence[Asked]) -> str:
        """What to do about a text in the wrong role, given which methods of embedding objects it went to.

        Here: whether the component calls the wrong method, or the right one does the wrong thing.
        """
        wrong = [call for call in asked if call.role == "query"]
        if not wrong or len(wrong) < len(asked):
            return self.role_advice
        return f"{wrong[0].owner} itself takes queries for documents; RagEmbeddings and RagEmbedding keep them apart."

    def new_id(self) -> str:
        """An id nobody else has."""
        return f"{self.tag}-{secrets.token_hex(4)}"


class ReadingProbe(Probe):
    """A component that is only asked; its documents are written to a store it shows, if there is one."""

    store: Probe | None = None

    def use_store(self, *names: str) -> None:
        """Take the first of these attributes that can be audited as the store that the component reads."""
        from integrations.audit.kinds import find_probe  # which names the probes

        for name in names:
            self.store = self.store or find_probe(getattr(self.component, name, None), self.tag)
        if self.store is not None:
            self.has_two_scenarios = self.store.has_two_scenarios
            self.reading_options = self.store.reading_options

    def why_not_write(self) -> str:  # noqa: D102
        return "it only reads, and shows no store to write to" if self.store is None else self.store.why_not_write()

    def why_not_remove(self) -> str:  # noqa: D102
        return "" if self.store is None else self.store.why_not_remove()

    def write(self, text: str) -> None:  # noqa: D102
        self._shown.write(text)

    async def awrite(self, text: str) -> None:  # noqa: D102
        await self._shown.awrite(text)

    def remove(self) -> None:  # noqa: D102
        if self.store is not None:
            self.store.remove()

    @property
    def _shown(self) -> Probe:
        if self.store is None:
            raise NotImplementedError(self.why_not_write())
        return self.store


def why_no_roles(scorer: object) -> str:
    """Why there is nothing to see of a reranker whose model reads query and text together; empty without one."""
    if scorer is None or callable(getattr(scorer, "encode_queries", None)):
        return ""
    return f"{type(scorer).__name__} reads query and text together: it has no roles that could be mixed up"
