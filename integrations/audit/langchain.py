"""How LangChain's components are audited. Imports nothing of LangChain."""

import sys
from typing import Any

from integrations.audit.probe import Probe, ReadingProbe, why_no_roles

_CACHE_ADVICE = (
    "Give the cache of queries a store of its own (query_embedding_cache=another_store), or use "
    "RagEmbeddings(cache=...), whose keys tell roles apart."
)


class EmbeddingsProbe(Probe):
    """`Embeddings`: nothing is kept, so nothing is removed."""

    kind = "LangChain embeddings"
    role_advice = "embed_query has to use the query instruction; RagEmbeddings does."
    cache_advice = _CACHE_ADVICE

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.embed_query(text)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.aembed_query(text)

    def write(self, text: str) -> None:  # noqa: D102
        self.component.embed_documents([text])

    async def awrite(self, text: str) -> None:  # noqa: D102
        await self.component.aembed_documents([text])


class VectorStoreProbe(Probe):
    """`VectorStore`: texts are added under ids of our own and deleted by them."""

    kind = "LangChain vector store"
    role_advice = "The store has to call embed_query for searches and embed_documents for texts."
    cache_advice = _CACHE_ADVICE

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self._ids: list[str] = []

    def why_not_remove(self) -> str:  # noqa: D102
        # The method of the base class says no more than that it is not there.
        is_base = type(self.component).delete.__module__ == "langchain_core.vectorstores.base"
        return "it has no delete()" if is_base else ""

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.similarity_search(text, k=1)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.asimilarity_search(text, k=1)

    def write(self, text: str) -> None:  # noqa: D102
        self._note(self.component.add_texts([text], ids=[self._next_id()]))

    async def awrite(self, text: str) -> None:  # noqa: D102
        self._note(await self.component.aadd_texts([text], ids=[self._next_id()]))

    def remove(self) -> None:  # noqa: D102
        if self._ids:
            self.component.delete(list(dict.fromkeys(self._ids)))
            self._ids.clear()

    def _next_id(self) -> str:
        self._ids.append(self.new_id())  # before the call, which may fail half-way
        return self._ids[-1]

    def _note(self, ids: object) -> None:
        if isinstance(ids, list):
            self._ids += ids  # stores may give ids of their own


class RetrieverProbe(ReadingProbe):
    """`BaseRetriever`; documents go to the vector store, or to the retriever of ours, that it shows."""

    kind = "LangChain retriever"
    cache_advice = _CACHE_ADVICE

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self.use_store("vectorstore", "retriever")

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.invoke(text, **self.reading_options)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.ainvoke(text, **self.reading_options)


class ExampleSelectorProbe(ReadingProbe):
    """`BaseExampleSelector`: has no method to remove an example, so the store it shows is written to."""

    kind = "LangChain example selector"
    cache_advice = _CACHE_ADVICE

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self.use_store("vectorstore", "retriever")

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.select_examples(self._input(text))

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.aselect_examples(self._input(text))

    def _input(self, text: str) -> dict[str, str]:
        return dict.fromkeys(getattr(self.component, "input_keys", None) or ["input"], text)


class CompressorProbe(Probe):
    """`BaseDocumentCompressor`: one call has both roles, so the other text is one that nobody looks for."""

    kind = "LangChain reranker"

    def why_not_ask(self) -> str:  # noqa: D102
        return why_no_roles(getattr(self.component, "scorer", None))

    def why_not_write(self) -> str:  # noqa: D102
        return self.why_not_ask()

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.compress_documents([_document("some text")], text)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.acompress_documents([_document("some text")], text)

    def write(self, text: str) -> None:  # noqa: D102
        self.component.compress_documents([_document(text)], "some question")

    async def awrite(self, text: str) -> None:  # noqa: D102
        await self.component.acompress_documents([_document(text)], "some question")


def _document(text: str) -> object:
    documents = sys.modules["langchain_core.documents"]  # whose compressor this is
    return documents.Document(page_content=text)
