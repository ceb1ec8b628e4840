"""How our encoder and the five retrievers are audited."""

from typing import Any

from integrations.audit.probe import Probe
from rag_embedder.retrievers.base import in_thread
from rag_embedder.types import Demonstration, Document, Tool, Turn


class EncoderProbe(Probe):
    """An `Embedder`, or anything with its two methods."""

    kind = "encoder"
    role_advice = "encode_queries and encode_documents have to use instructions of their own."

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.encode_queries([text])

    async def aask(self, text: str) -> None:  # noqa: D102
        await in_thread(lambda: self.ask(text))

    def write(self, text: str) -> None:  # noqa: D102
        self.component.encode_documents([text])

    async def awrite(self, text: str) -> None:  # noqa: D102
        await in_thread(lambda: self.write(text))


class PassageProbe(Probe):
    """`KnowledgeRetriever` and `ConversationRetriever`, and, with other items, the retrievers below."""

    kind = "retriever of rag_embedder"

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self._ids: list[str] = []

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.retrieve(text, k=1, **self.reading_options)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.aretrieve(text, k=1, **self.reading_options)

    def write(self, text: str) -> None:  # noqa: D102
        self._ids.append(self.new_id())  # before the call, which may fail half-way
        self._add(text, self._ids[-1])

    async def awrite(self, text: str) -> None:  # noqa: D102
        await in_thread(lambda: self.write(text))

    def remove(self) -> None:  # noqa: D102
        self.component.delete(self._ids, **self.reading_options)
        self._ids.clear()

    def _add(self, text: str, id_: str) -> None:
        self.component.add([Document(text, id=id_)])


class DemonstrationProbe(PassageProbe):
    """`DemonstrationRetriever`."""

    def _add(self, text: str, id_: str) -> None:
        self.component.add([Demonstration(text, "an answer", id=id_)])


class ToolProbe(PassageProbe):
    """`ToolRetriever`."""

    def _add(self, text: str, id_: str) -> None:
        self.component.add([Tool(id_, text)])


class MemoryProbe(PassageProbe):
    """`MemoryRetriever`: all is done for a user whom nobody else has, who is forgotten afterwards."""

    has_two_scenarios = True

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self.reading_options = {"user": tag}

    def remove(self) -> None:  # noqa: D102
        self.component.forget(self.tag)

    def _add(self, text: str, id_: str) -> None:
        self.component.add_turns([Turn("user", text)], user=self.tag, session=id_)
        self.component.add_text(text, user=self.tag, source=id_)
