"""Any LangChain vector store as an index: the contract of every back-end, run on two stores, and what is special."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore

from integrations.langchain import VectorStoreIndexSettings
from rag_embedder import ConversationRetriever, Document, KnowledgeRetriever, MemoryRetriever
from rag_embedder.errors import BackendError, ConfigError
from tests.contracts.test_index_contract import *  # noqa: F403  (its checks, run on the `settings` below)
from tests.contracts.test_index_contract import Shelf, resolve_index, unit
from tests.retriever_cases import TEXTS, WordEncoder


def chroma(folder):
    """A collection on disk. Clients of one folder share it, as those of a server would."""
    return lambda embeddings: Chroma(
        "rows",
        embeddings,
        persist_directory=str(folder),
        collection_configuration={"hnsw": {"space": "ip"}},
    )


@pytest.fixture(params=["in memory, exact", "in memory, asked", "chroma, exact"])
def settings(request, tmp_path):
    if request.param.startswith("chroma"):
        return VectorStoreIndexSettings(chroma(tmp_path / "theirs"))
    return VectorStoreIndexSettings(InMemoryVectorStore, exact_up_to=1000 if "exact" in request.param else 0)


@pytest.fixture
def shelf(settings, tmp_path):
    made = Shelf(settings, tmp_path / "kb")
    yield made
    made.close()


class Recorder(InMemoryVectorStore):
    """Notes the texts it is given and asked."""

    def __init__(self, embedding):
        super().__init__(embedding)
        self.added, self.asked, self.deleted = [], [], []

    def add_documents(self, documents, ids=None, **kwargs):
        self.added += [document.page_content for document in documents]
        return super().add_documents(documents, ids, **kwargs)

    def similarity_search(self, query, k=4, **kwargs):
        self.asked.append((query, k))
        return super().similarity_search(query, k, **kwargs)

    def delete(self, ids=None, **kwargs):
        self.deleted += ids
        super().delete(ids, **kwargs)


class Shared:
    """One store that outlives the indexes over it, as a server's collection does."""

    def __init__(self, kind=Recorder):
        self.kind, self.store = kind, None

    def __call__(self, embeddings):
        if self.store is None:
            self.store = self.kind(embeddings)
        self.store.embedding = embeddings
        return self.store


def documents():
    return [Document(text, id=id_, metadata={"words": len(text.split())}) for id_, text in TEXTS.items()]


def test_their_store_never_sees_a_text_a_query_or_an_id_of_the_user():
    shared = Shared()
    with KnowledgeRetriever(WordEncoder(), index=VectorStoreIndexSettings(shared, exact_up_to=0)) as knowledge:
        knowledge.add([*documents(), *(Document(f"word{n} filler", id=f"filler{n}") for n in range(60))])
        assert knowledge.retrieve(TEXTS["cat"], 2)[0].id == "cat"
        stored = repr(shared.store.store) + repr(shared.store.asked)
        assert len(shared.store.added) == 66
        assert len(shared.store.asked) == 1
        for secret in [*TEXTS, *TEXTS.values(), "filler"]:
            assert secret not in stored


@pytest.mark.parametrize("exact_up_to", [0, 1000])
def test_retrievers_answer_as_with_the_exact_index(exact_up_to):
    encoder = WordEncoder()
    more = [Document(f"{text} number{n}", id=f"{id_}{n}") for n in range(20) for id_, text in TEXTS.items()]
    settings = VectorStoreIndexSettings(InMemoryVectorStore, exact_up_to=exact_up_to)
    with KnowledgeRetriever(encoder, index=settings) as ours, KnowledgeRetriever(encoder, index="flat") as flat:
        for retriever in (ours, flat):
            retriever.add([*documents(), *more])
            retriever.delete(["rain", "cat3"])
        for query in TEXTS.values():
            for options in ({}, {"filter": {"words": {"lte": 6}}}, {"mode": "hybrid"}, {"mode": "lexical"}):
                assert ours.retrieve(query, 7, **options) == flat.retrieve(query, 7, **options)


def test_memories_of_another_user_are_not_even_candidates():
    shared = Shared()
    with MemoryRetriever(WordEncoder(), index=VectorStoreIndexSettings(shared, exact_up_to=0)) as memory:
        for user in ("ann", "bob"):
            for n in range(40):
                memory.add_text(f"{user} likes cat number{n}", user=user, source=f"{user}{n}")
        assert all(hit.item.text.startswith("bob") for hit in memory.retrieve("ann likes cat", 10, user="bob"))


def test_opening_again_writes_only_what_the_store_lacks(tmp_path):
    shared = Shared()
    settings = VectorStoreIndexSettings(shared)
    first = Shelf(settings, tmp_path / "kb")
    first.put(range(30), unit(30))
    first.close()
    assert len(shared.store.added) == 30
    other = Shelf(resolve_index("flat"), tmp_path / "kb")
    other.put(["new"], unit(1, seed=1))
    other.put([0, 1], unit(2, seed=2))  # replaced: under new numbers
    other.close()
    *_, lost = shared.store.store
    shared.store.store.pop(lost)
    again = Shelf(settings, tmp_path / "kb")
    again.check(unit(3, seed=3))
    again.close()
    assert len(shared.store.added) == 30 + 3 + 1


def test_a_row_whose_number_means_another_vector_now_is_written_again(tmp_path):
    shared = Shared()
    settings = VectorStoreIndexSettings(shared, exact_up_to=0)
    shelf = Shelf(settings, tmp_path / "kb")
    shelf.put(range(60), unit(60))
    shelf.store.backup(tmp_path / "backup")
    shelf.put(["later"], unit(1, seed=1))
    shelf.close()
    (tmp_path / "backup" / "truth.db").replace(tmp_path / "kb" / "truth.db")
    again = Shelf(settings, tmp_path / "kb")
    again.put(["other"], unit(1, seed=2))  # takes the number that "later" had
    again.check(unit(1, seed=2), 1)
    assert len(shared.store.added) == 62
    again.close()


def test_rows_of_an_in_memory_retriever_leave_the_store_with_it():
    shared = Shared()
    shelf = Shelf(VectorStoreIndexSettings(shared))
    shelf.put(range(5), unit(5))
    assert len(shared.store.store) == 5
    shelf.close()
    assert shared.store.store == {}


def test_two_retrievers_in_one_collection_stay_apart(tmp_path):
    shared = Shared()
    settings, path = VectorStoreIndexSettings(shared, exact_up_to=0), tmp_path / "kb"
    many = [*documents(), *(Document(f"filler number{n}", id=f"f{n}") for n in range(60))]
    with KnowledgeRetriever(WordEncoder(), path=path, index=settings) as knowledge:
        knowledge.add(many)
        assert shared.store.store == {}  # what was added reaches the store with the next search
        knowledge.retrieve("cat")
    with ConversationRetriever(WordEncoder(), path=path, index=settings) as conversation:
        assert [hit.id for hit in conversation.retrieve(TEXTS["cat"], 1)] == ["cat"]
        assert len(shared.store.store) == 2 * 66  # one row for each document and scenario
    with KnowledgeRetriever(WordEncoder(), path=path, index="flat") as flat:
        expected = flat.retrieve(TEXTS["rain"], 5)
    with KnowledgeRetriever(WordEncoder(), path=path, index=settings) as knowledge:
        assert knowledge.retrieve(TEXTS["rain"], 5) == expected


def test_rows_of_another_knowledge_base_in_the_collection_are_no_candidates(tmp_path):
    settings = VectorStoreIndexSettings(Shared(), exact_up_to=0)
    with KnowledgeRetriever(WordEncoder(), path=tmp_path / "other", index=settings) as other:
        other.add([Document("the blue cat", id=f"n{n}") for n in range(100)])
        other.retrieve("cat")
    with KnowledgeRetriever(WordEncoder(), path=tmp_path / "kb", index=settings) as knowledge:
        knowledge.add([*(f"filler number{n}" for n in range(100)), "the blue cat sat"])
        (found,) = knowledge.retrieve("the blue cat", 1)
        assert found.item.text == "the blue cat sat"


def test_chroma_that_is_asked_finds_what_is_near(tmp_path):
    shelf = Shelf(VectorStoreIndexSettings(chroma(tmp_path / "theirs"), exact_up_to=0), tmp_path / "kb")
    vectors = unit(1200)
    shelf.put(range(1200), vectors)  # more than one batch
    found = shelf.index.search(vectors[:50], 1)
    assert sum(each.numbers[0] == position + 1 for position, each in enumerate(found)) >= 48
    assert all(each.scores[0] == pytest.approx(1.0, abs=1e-5) for each in found)
    shelf.close()


def test_a_store_with_embeddings_of_its_own_is_refused():
    own = DeterministicFakeEmbedding(size=WordEncoder.dim)
    settings = VectorStoreIndexSettings(lambda _: InMemoryVectorStore(own))
    with KnowledgeRetriever(WordEncoder(), index=settings) as knowledge:
        knowledge.add(["cat"])
        with pytest.raises(BackendError, match=r"did not take 1 of 1 vectors .* Give it these embeddings, not others"):
            knowledge.retrieve("cat")


def test_a_store_that_embeds_queries_as_documents_is_right_too():
    class Muddled(InMemoryVectorStore):
        def similarity_search(self, query, k=4, **kwargs):
            (vector,) = self.embedding.embed_documents([query])
            return self.similarity_search_by_vector(vector, k, **kwargs)

    shelf = Shelf(VectorStoreIndexSettings(Muddled, exact_up_to=0))
    shelf.put(range(100), unit(100))
    shelf.check(unit(5, seed=1))
    shelf.close()


def test_a_store_that_probes_the_dimension_gets_a_vector():
    seen = []

    def open_store(embeddings):
        seen.append(len(embeddings.embed_query("hello world")))
        return InMemoryVectorStore(embeddings)

    Shelf(VectorStoreIndexSettings(open_store)).close()
    assert seen == [24]


def test_a_store_that_can_neither_look_up_nor_delete_still_gives_right_answers(caplog, tmp_path):
    class Poor(Recorder):
        def get_by_ids(self, ids, /):
            raise NotImplementedError

        def delete(self, ids=None, **kwargs):
            raise NotImplementedError

    shared = Shared(Poor)
    for added in (100, 199):  # written again on opening, since it cannot say what it holds
        shelf = Shelf(VectorStoreIndexSettings(shared, exact_up_to=0), tmp_path / "kb")
        if added == 100:
            shelf.put(range(100), unit(100))
            with caplog.at_level(logging.WARNING):
                shelf.delete([7])
            assert "Poor cannot delete: it keeps 1 vectors of removed rows" in caplog.text
        shelf.check(unit(100), 3)
        assert len(shared.store.added) == added
        shelf.close()


def test_a_failing_store_is_named_and_harms_nothing(tmp_path):
    class Failing(Recorder):
        def add_documents(self, documents, ids=None, **kwargs):
            raise ConnectionError("no route")

    def refuse(embeddings):
        raise ConnectionError("no route")

    path = tmp_path / "kb"
    with KnowledgeRetriever(WordEncoder(), path=path, index=VectorStoreIndexSettings(Failing)) as knowledge:
        knowledge.add(documents())
        with pytest.raises(BackendError, match=r"adding rows \(ConnectionError\)") as caught:
            knowledge.retrieve("cat")
        assert isinstance(caught.value.__cause__, ConnectionError)
    with pytest.raises(BackendError, match=r"opening \(ConnectionError\)"):
        KnowledgeRetriever(WordEncoder(), path=path, index=VectorStoreIndexSettings(refuse))
    with KnowledgeRetriever(WordEncoder(), path=path, index=VectorStoreIndexSettings(InMemoryVectorStore)) as knowledge:
        assert knowledge.retrieve(TEXTS["cat"], 1)[0].id == "cat"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"open_store": "kb"}, "open_store: got str; expected a function"),
        ({"open_store": InMemoryVectorStore, "exact_up_to": -1}, "exact_up_to: got -1"),
        ({"open_store": InMemoryVectorStore, "batch_size": 0}, "batch_size: got 0"),
        ({"open_store": InMemoryVectorStore, "batch_size": True}, "batch_size: got True"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        VectorStoreIndexSettings(**options)


def test_a_function_that_gives_no_store_is_refused():
    with pytest.raises(ConfigError, match="open_store: gave dict; expected a VectorStore"):
        KnowledgeRetriever(WordEncoder(), index=VectorStoreIndexSettings(lambda embeddings: {}))


def test_sixteen_threads_find_their_own_row_while_others_are_added():
    settings = VectorStoreIndexSettings(InMemoryVectorStore, exact_up_to=0)
    with KnowledgeRetriever(WordEncoder(), index=settings) as knowledge:
        knowledge.add([Document(f"only{n}", id=f"n{n}") for n in range(100)])

        def search(n):
            if n % 8 == 0:
                knowledge.add([Document(f"later{n}", id=f"later{n}")])
                return knowledge.retrieve(f"later{n}", 1)[0].id == f"later{n}"
            return knowledge.retrieve(f"only{n % 100}", 1)[0].id == f"n{n % 100}"

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(search, range(200)))
        assert len(knowledge) == 125
        assert np.array_equal(knowledge._search._index.numbers(), np.arange(1, 126))
