"""What a LlamaIndex embed model must do: `EmbeddingConformance`, for any `BaseEmbedding`."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from integrations.conformance.loop_ticks import check_loop_was_free, count_ticks

TEXTS = (
    "The cat sleeps on the mat.",
    "Snow fell in Oslo all night.",
    "The cat sleeps on the mat.",
    "Bread needs yeast.",
)


class EmbeddingConformance:
    """Subclass it, give the fixtures, and pytest runs its tests on your embed model.

        class TestMine(EmbeddingConformance):
            @pytest.fixture
            def embedding(self):
                return MyEmbedding(...)

    `slow_embedding`, `cached_embedding` and `other_embedding` are fixtures too; the tests of one that is not given are
    skipped. Set `is_symmetric` if queries and documents are meant to have the same vectors.
    """

    is_symmetric = False
    """Whether the model knows no difference between a query and a document."""

    tolerance = 1e-4
    """How far numbers of equal vectors may lie apart."""

    @pytest.fixture
    def embedding(self) -> BaseEmbedding:
        """The object under test."""
        raise NotImplementedError("give the fixture `embedding`")

    @pytest.fixture
    def slow_embedding(self) -> BaseEmbedding:
        """The same, but each call of the model takes at least 0.3 seconds."""
        pytest.skip("no fixture slow_embedding")

    @pytest.fixture
    def cached_embedding(self) -> BaseEmbedding:
        """The same, made with `embeddings_cache=SimpleKVStore()`."""
        pytest.skip("no fixture cached_embedding")

    @pytest.fixture
    def other_embedding(self) -> BaseEmbedding:
        """The same with one option changed that changes vectors, such as an instruction."""
        pytest.skip("no fixture other_embedding")

    def restore(self, embedding: BaseEmbedding) -> BaseEmbedding:
        """What `from_dict` makes of an object's `to_dict`; override it if yours needs more than that."""
        return type(embedding).from_dict(embedding.to_dict())

    def test_it_is_an_embed_model_with_a_class_name_of_its_own(self, embedding: BaseEmbedding) -> None:
        """LlamaIndex serialises by `class_name`, so an inherited one would restore another class."""
        assert isinstance(embedding, BaseEmbedding)
        assert "class_name" in vars(type(embedding))
        assert embedding.to_dict()["class_name"] == type(embedding).class_name()

    def test_queries_and_documents_have_different_vectors(self, embedding: BaseEmbedding) -> None:
        """The same words on the two sides of an asymmetric model."""
        if self.is_symmetric:
            pytest.skip("is_symmetric")
        query, text = embedding.get_query_embedding(TEXTS[0]), embedding.get_text_embedding(TEXTS[0])
        assert not self._near(query, text)

    def test_a_batch_gives_the_vectors_of_its_texts_in_order(self, embedding: BaseEmbedding) -> None:
        """Repetitions included, over several batches of the model."""
        texts = list(TEXTS) * (embedding.embed_batch_size // len(TEXTS) + 1)
        alone = {text: embedding.get_text_embedding(text) for text in TEXTS}
        vectors = embedding.get_text_embedding_batch(texts)
        assert len(vectors) == len(texts)
        assert all(self._near(vector, alone[text]) for vector, text in zip(vectors, texts, strict=True))

    def test_an_empty_batch_gives_nothing(self, embedding: BaseEmbedding) -> None:
        """And does not ask the model."""
        assert embedding.get_text_embedding_batch([]) == []

    def test_the_texts_given_stay_as_they_are(self, embedding: BaseEmbedding) -> None:
        """The list belongs to the caller."""
        texts = list(TEXTS)
        embedding.get_text_embedding_batch(texts)
        assert texts == list(TEXTS)

    async def test_async_gives_the_same_vectors(self, embedding: BaseEmbedding) -> None:
        """Of a query, a text and a batch."""
        assert self._near(await embedding.aget_query_embedding(TEXTS[1]), embedding.get_query_embedding(TEXTS[1]))
        assert self._near(await embedding.aget_text_embedding(TEXTS[1]), embedding.get_text_embedding(TEXTS[1]))
        batch = await embedding.aget_text_embedding_batch(list(TEXTS))
        assert self._near(batch, embedding.get_text_embedding_batch(list(TEXTS)))
        assert await embedding.aget_text_embedding_batch([]) == []

    async def test_async_calls_leave_the_event_loop_free(self, slow_embedding: BaseEmbedding) -> None:
        """LlamaIndex's own default encodes texts on the loop."""
        _, ticks = await count_ticks(slow_embedding.aget_query_embedding(TEXTS[0]))
        check_loop_was_free(ticks)
        _, ticks = await count_ticks(slow_embedding.aget_text_embedding(TEXTS[0]))
        check_loop_was_free(ticks)
        _, ticks = await count_ticks(slow_embedding.aget_text_embedding_batch(list(TEXTS)))
        check_loop_was_free(ticks)

    def test_many_threads_get_the_same_vectors(self, embedding: BaseEmbedding) -> None:
        """Sixteen of them, asking both sides at once."""
        queries = [embedding.get_query_embedding(text) for text in TEXTS]
        texts = [embedding.get_text_embedding(text) for text in TEXTS]
        with ThreadPoolExecutor(16) as pool:
            for found, expected in (
                (list(pool.map(embedding.get_query_embedding, list(TEXTS) * 16)), queries * 16),
                (list(pool.map(embedding.get_text_embedding, list(TEXTS) * 16)), texts * 16),
            ):
                assert self._near(found, expected)

    def test_its_dict_is_json_and_restores_an_object_with_the_same_vectors(self, embedding: BaseEmbedding) -> None:
        """On both sides: an option that is no public field would be lost here."""
        json.dumps(embedding.to_dict())
        restored = self.restore(embedding)
        assert type(restored) is type(embedding)
        assert self._near(restored.get_query_embedding(TEXTS[1]), embedding.get_query_embedding(TEXTS[1]))
        assert self._near(restored.get_text_embedding(TEXTS[1]), embedding.get_text_embedding(TEXTS[1]))

    def test_an_unknown_option_is_refused(self, embedding: BaseEmbedding) -> None:
        """A misspelt one that is ignored changes nothing and says nothing."""
        is_refused = False
        try:
            type(embedding).from_dict({**embedding.to_dict(), "no_such_option": 1})
        except (TypeError, ValueError) as fault:
            is_refused = "no_such_option" in str(fault)
        assert is_refused

    def test_what_tracing_sees_is_json(self, embedding: BaseEmbedding) -> None:
        """`to_payload` goes into events and callbacks."""
        payload = embedding.to_payload()
        json.dumps(payload)
        assert payload["class_name"] == type(embedding).class_name()

    @pytest.mark.parametrize("first", ["query", "document"])
    async def test_the_cache_keeps_queries_and_documents_apart(
        self, cached_embedding: BaseEmbedding, embedding: BaseEmbedding, first: str
    ) -> None:
        """Whichever side asks first, sync and async, one by one and in a batch."""
        text = TEXTS[1] if first == "query" else TEXTS[3]
        query, document = embedding.get_query_embedding(text), embedding.get_text_embedding(text)
        if first == "query":
            cached_embedding.get_query_embedding(text)
        else:
            cached_embedding.get_text_embedding_batch([text])
        for _ in range(2):
            assert self._near(cached_embedding.get_text_embedding(text), document)
            assert self._near(cached_embedding.get_text_embedding_batch([text])[0], document)
            assert self._near(await cached_embedding.aget_text_embedding(text), document)
            assert self._near((await cached_embedding.aget_text_embedding_batch([text]))[0], document)
            assert self._near(cached_embedding.get_query_embedding(text), query)
            assert self._near(await cached_embedding.aget_query_embedding(text), query)

    def test_a_pipeline_notices_that_an_option_has_changed(
        self, embedding: BaseEmbedding, other_embedding: BaseEmbedding
    ) -> None:
        """`IngestionPipeline` takes what its cache holds for the same nodes and the same `to_dict`."""
        cache = IngestionCache(cache=SimpleKVStore())
        made = []
        for used in (embedding, other_embedding):
            pipeline = IngestionPipeline(transformations=[used], cache=cache)
            made.append(pipeline.run(nodes=[TextNode(text=TEXTS[1], id_="one")])[0].embedding)
        assert self._near(made[0], embedding.get_text_embedding(TEXTS[1]))
        assert self._near(made[1], other_embedding.get_text_embedding(TEXTS[1]))
        assert not self._near(made[0], made[1])

    def test_an_index_finds_the_text_that_was_asked_for(self, embedding: BaseEmbedding) -> None:
        """Through `VectorStoreIndex`, sync and async."""
        nodes = [TextNode(text=text, id_=str(number)) for number, text in enumerate(TEXTS)]
        retriever = VectorStoreIndex(nodes[1:], embed_model=embedding).as_retriever(similarity_top_k=1)
        for number in (1, 2, 3):
            assert retriever.retrieve(TEXTS[number])[0].node.node_id == str(number)
        assert asyncio.run(retriever.aretrieve(TEXTS[3]))[0].node.node_id == "3"

    def _near(self, one: object, other: object) -> bool:
        return bool(np.allclose(np.asarray(one), np.asarray(other), atol=self.tolerance))
