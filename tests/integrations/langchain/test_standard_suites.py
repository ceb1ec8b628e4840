"""LangChain's own standard tests, unmodified."""

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, RetrieversIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from integrations.langchain import ConversationalRagRetriever, RagEmbeddings, RagReranker, RagRetriever
from rag_embedder import ConversationRetriever, KnowledgeRetriever
from tests.retriever_cases import TEXTS, WordEncoder


class _OfAModel:
    """The tiny model in a folder; the suites read it as properties."""

    @pytest.fixture(autouse=True)
    def _folder(self, tiny_folder):
        self.folder = tiny_folder

    @property
    def embeddings_class(self):
        return RagEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": str(self.folder), "instructions": "llm-embedder", "device": "cpu"}


class TestEmbeddingsUnit(_OfAModel, EmbeddingsUnitTests):
    """Construction."""


class TestEmbeddings(_OfAModel, EmbeddingsIntegrationTests):
    """Vectors, sync and async."""


class TestEmbeddingsOfALiveEmbedder(EmbeddingsIntegrationTests):
    """The same with an embedder that is already loaded."""

    @property
    def embeddings_class(self):
        return RagEmbeddings

    @property
    def embedding_model_params(self):
        return {"embedder": WordEncoder(), "scenario": "tool"}


class _OverTexts:
    """One of our retrievers over six texts."""

    opens = KnowledgeRetriever

    @pytest.fixture(autouse=True)
    def _ours(self):
        with self.opens(WordEncoder()) as self.ours:
            self.ours.add(list(TEXTS.values()))
            yield

    @property
    def retriever_constructor_params(self):
        return {"retriever": self.ours}

    @property
    def retriever_query_example(self):
        return "will it rain in the house"


class TestRetriever(_OverTexts, RetrieversIntegrationTests):
    """RagRetriever."""

    @property
    def retriever_constructor(self):
        return RagRetriever


class TestConversationalRetriever(_OverTexts, RetrieversIntegrationTests):
    """ConversationalRagRetriever, asked with a string."""

    opens = ConversationRetriever

    @property
    def retriever_constructor(self):
        return ConversationalRagRetriever


def test_a_reranked_retriever_still_gives_documents():
    retriever = RagRetriever.from_documents([Document(text) for text in TEXTS.values()], WordEncoder(), k=5)
    found = RagReranker(embedder=WordEncoder(), k=3).after(retriever).invoke("rain")
    assert [type(document) for document in found] == [Document] * 3
    retriever.retriever.close()
