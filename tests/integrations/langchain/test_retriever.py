"""RagRetriever: our retrievers where LangChain expects its own, options honoured or refused, scores kept."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.load import dumpd
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

import rag_embedder
from integrations.conformance.loop_ticks import count_ticks
from integrations.langchain import RagEmbeddings, RagRetriever
from integrations.langchain.documents import from_hits, to_documents
from rag_embedder import Demonstration, KnowledgeRetriever, watch_encodings
from rag_embedder.errors import InputError, InvalidTextError, StoreClosedError, UserRequiredError
from tests.retriever_cases import CASES, TEXTS, Watched, WordEncoder, entry_id


def documents():
    return [Document(text, id=id_, metadata={"words": len(text.split()), "tags": [id_]}) for id_, text in TEXTS.items()]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def retriever(watched):
    made = RagRetriever.from_documents(documents(), watched)
    yield made
    made.retriever.close()


def ids(found):
    return [document.id for document in found]


# --- what comes back


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_every_retriever_of_ours_gives_documents_with_ids_and_scores(case, watched):
    with case.open(watched) as ours:
        case.add(ours, TEXTS)
        retriever = RagRetriever(retriever=ours, k=2, **case.options)
        hits = ours.retrieve(case.ask(TEXTS["cat"]), 2, **case.options)
        assert entry_id(hits[0]) == "cat"
        for found in (retriever.invoke(TEXTS["cat"]), await retriever.ainvoke(TEXTS["cat"])):
            assert ids(found) == [hit.id for hit in hits]
            assert [document.metadata["score"] for document in found] == [hit.score for hit in hits]
            assert TEXTS["cat"] in found[0].page_content


def test_a_plain_vector_store_retriever_drops_scores_and_options_and_ours_does_not(watched):
    store = InMemoryVectorStore.from_documents(documents(), RagEmbeddings(embedder=watched))
    plain = store.as_retriever(search_kwargs={"k": 3})

    class Naive(BaseRetriever):
        """The obvious adapter: it declares no options, so LangChain drops those of a call."""

        ours: KnowledgeRetriever

        def _get_relevant_documents(self, query, *, run_manager):
            return [Document(hit.item.text, id=hit.id) for hit in self.ours.retrieve(query, 3)]

    with KnowledgeRetriever(watched) as knowledge:
        knowledge.add(to_documents(documents()))
        naive, ours = Naive(ours=knowledge), RagRetriever(retriever=knowledge, k=3)
        assert "score" not in plain.invoke("cat")[0].metadata
        assert len(naive.invoke("cat", k=1)) == len(naive.invoke("cat", top_k=1)) == 3  # both silently ignored
        assert len(ours.invoke("cat", k=1)) == 1
        assert -1 <= ours.invoke("cat")[0].metadata["score"] <= 1
        with pytest.raises(InputError, match="no option 'top_k'; expected: k, filter, mode, score_threshold"):
            ours.invoke("cat", top_k=1)


def test_metadata_is_a_copy_and_our_score_wins(retriever):
    retriever.retriever.add([rag_embedder.Document("blue cat", id="mine", metadata={"score": "theirs", "deep": [1]})])
    (first,) = retriever.invoke("blue cat", k=1)
    assert isinstance(first.metadata["score"], float)
    first.metadata["deep"].append(2)
    first.metadata["score"] = 7
    (again,) = retriever.invoke("blue cat", k=1)
    assert again.metadata["deep"] == [1]
    assert again.metadata["score"] <= 1


def test_the_score_key_can_be_chosen(retriever):
    (found,) = RagRetriever(retriever=retriever.retriever, score_key="relevance").invoke("cat", k=1)
    assert "score" not in found.metadata
    assert found.metadata["relevance"] > 0


# --- options


def test_options_of_the_object_hold_and_those_of_a_call_override_them(retriever):
    knowledge = retriever.retriever
    narrow = RagRetriever(retriever=knowledge, k=1, filter={"words": {"gte": 8}}, score_threshold=-1.0)
    assert ids(narrow.invoke(TEXTS["cat"])) == ["cat"]
    assert ids(narrow.invoke(TEXTS["rain"])) == ["cat"]  # seven words
    assert ids(narrow.invoke(TEXTS["rain"], filter={"words": 7}, k=2))[0] == "rain"
    assert len(narrow.invoke(TEXTS["cat"], filter={}, k=10)) == len(TEXTS)
    assert ids(narrow.invoke(TEXTS["cat"], k=None, filter=None, mode=None, score_threshold=None)) == ["cat"]
    assert narrow.invoke(TEXTS["cat"], score_threshold=1.5) == []
    assert ids(retriever.invoke(TEXTS["cat"], score_threshold=0.9)) == ["cat"]
    lexical = RagRetriever(retriever=knowledge, mode="lexical")
    assert ids(lexical.invoke("paris")) == ["capital"]
    assert len(lexical.invoke("paris", mode="dense")) == 4


async def test_options_reach_batches_bindings_and_async_calls(retriever):
    assert [len(each) for each in retriever.batch(["cat", "rain"], k=2)] == [2, 2]
    assert [len(each) for each in await retriever.abatch(["cat", "rain"], k=3)] == [3, 3]
    assert len(retriever.bind(k=1).invoke("cat")) == 1
    assert len(await retriever.bind(k=1).ainvoke("cat")) == 1
    assert [len(each) for each in retriever.stream("cat", k=1)] == [1]
    with pytest.raises(InputError, match="no option 'top_k'"):
        await retriever.ainvoke("cat", top_k=3)


async def test_configurable_fields_retries_and_fallbacks_work(retriever):
    configurable = retriever.configurable_fields(k=ConfigurableField(id="k"), filter=ConfigurableField(id="filter"))
    assert len(configurable.invoke("cat")) == 4
    assert len(configurable.invoke("cat", {"configurable": {"k": 1}})) == 1
    assert ids(await configurable.ainvoke("rain", {"configurable": {"filter": {"words": 8}, "k": 9}})) == ["cat"]
    closed = RagRetriever.from_documents(documents(), WordEncoder())
    closed.retriever.close()
    with pytest.raises(StoreClosedError):
        closed.with_retry(retry_if_exception_type=(KeyError,)).invoke("cat")
    assert ids(closed.with_fallbacks([retriever]).invoke(TEXTS["cat"], k=1)) == ["cat"]


def test_it_stands_in_a_chain(retriever):
    chain = retriever | (lambda found: [document.page_content for document in found])
    assert chain.invoke("the capital of france")[0] == TEXTS["capital"]
    assert (RunnableLambda(lambda state: state["question"]) | chain).invoke({"question": "snow"})[0] == TEXTS["fire"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 3}, "top_k"),
        ({"k": 0}, r"\nk\n.*greater than or equal to 1"),
        ({"k": "3"}, r"\nk\n.*valid integer"),
        ({"k": True}, r"\nk\n.*valid integer"),
        ({"k": 20_000}, r"\nk\n.*less than or equal to 10000"),
        ({"score_threshold": float("nan")}, "score_threshold"),
        ({"score_key": ""}, "score_key"),
        ({"mode": "dens"}, "mode"),
        ({"user": "ann"}, "KnowledgeRetriever has no option 'user'; expected: k, filter, mode"),
        ({"options": {"recency": 1.0}}, "no option 'recency'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once(retriever, options, message):
    with pytest.raises(ValidationError, match=message):
        RagRetriever(retriever=retriever.retriever, **options)


@pytest.mark.parametrize("wrong", [WordEncoder(), "kb", None, InMemoryVectorStore])
def test_what_is_no_retriever_of_ours_is_refused(wrong):
    with pytest.raises(ValidationError, match="expected a retriever of rag_embedder, such as KnowledgeRetriever"):
        RagRetriever(retriever=wrong)


@pytest.mark.parametrize("threshold", [float("nan"), "high", True])
def test_a_threshold_that_is_no_number_is_refused_in_a_call(retriever, threshold):
    with pytest.raises(InputError, match=r"score_threshold: got .*; expected a number"):
        retriever.invoke("cat", score_threshold=threshold)


# --- users


async def test_memories_need_a_user_and_never_cross_over(watched):
    with rag_embedder.MemoryRetriever(watched) as memory:
        memory.add_text("ann likes the blue cat", user="ann", source="a")
        memory.add_text("bob likes the blue cat", user="bob", source="b")
        nobody, ann = RagRetriever(retriever=memory), RagRetriever(retriever=memory, user="ann")
        watched.queries.clear()
        with pytest.raises(UserRequiredError, match="MemoryRetriever needs user="):
            nobody.invoke("blue cat")
        with pytest.raises(UserRequiredError):
            await nobody.ainvoke("blue cat")
        assert watched.queries == []
        assert [found.metadata["source"] for found in ann.invoke("blue cat")] == ["a"]
        assert [found.metadata["source"] for found in nobody.invoke("blue cat", user="bob")] == ["b"]
        pairs = [("ann", "a"), ("bob", "b")] * 32
        with ThreadPoolExecutor(16) as pool:
            found = pool.map(lambda pair: nobody.invoke("blue cat", user=pair[0]), pairs)
        assert [[each.metadata["source"] for each in hits] for hits in found] == [[source] for _, source in pairs]


def test_further_options_of_a_retriever_are_set_or_given(watched):
    with rag_embedder.DemonstrationRetriever(watched) as pool:
        pool.add([Demonstration(text, "yes", id=id_) for id_, text in TEXTS.items()])
        best_last = RagRetriever(retriever=pool, k=3, options={"order": "best_last"})
        assert ids(best_last.invoke(TEXTS["cat"]))[-1] == "cat"
        assert ids(best_last.invoke(TEXTS["cat"], order="best_first"))[0] == "cat"
        assert best_last.invoke(TEXTS["cat"])[-1].metadata["output"] == "yes"


# --- queries


@pytest.mark.parametrize("wrong", [{"question": "cat"}, [HumanMessage("cat")], ["cat"], None, 5, b"cat"])
async def test_a_query_that_is_no_text_is_refused_with_what_to_do(retriever, watched, wrong):
    message = r"query: got .*; expected str.*ConversationalRagRetriever"
    with pytest.raises(InvalidTextError, match=message) as caught:
        retriever.invoke(wrong)
    assert "cat" not in str(caught.value)
    with pytest.raises(InvalidTextError, match=message):
        await retriever.ainvoke(wrong)
    assert watched.queries == []


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_finds_nothing_and_costs_nothing(retriever, watched, query):
    assert retriever.invoke(query) == []
    assert watched.queries == []


def test_queries_reach_the_query_side_and_documents_the_document_side(embedder):
    with watch_encodings() as seen:
        retriever = RagRetriever.from_documents(documents(), embedder)
        retriever.invoke("cat")
    assert {(each.role, each.scenario) for each in seen} == {("document", "qa"), ("query", "qa")}
    assert [each.texts for each in seen if each.role == "query"] == [("cat",)]
    retriever.retriever.close()


async def test_the_loop_runs_on_while_a_slow_search_runs(retriever, watched):
    expected = retriever.invoke(TEXTS["cat"])
    watched.seconds = 0.3
    found, ticks = await count_ticks(retriever.ainvoke(TEXTS["cat"]))
    assert found == expected
    assert ticks >= 8

    class Blocking(BaseRetriever):
        """An adapter whose async method calls the sync one."""

        ours: KnowledgeRetriever

        def _get_relevant_documents(self, query, *, run_manager):
            return from_hits(self.ours.retrieve(query, 4))

        async def _aget_relevant_documents(self, query, *, run_manager):
            return self._get_relevant_documents(query, run_manager=run_manager)

    blocked, ticks = await count_ticks(Blocking(ours=retriever.retriever).ainvoke(TEXTS["cat"]))
    assert blocked == expected
    assert ticks <= 1


def test_sixteen_threads_get_the_answers_of_one(retriever):
    queries = [f"{text} {n}" for n in range(8) for text in TEXTS.values()]
    expected = [retriever.invoke(query) for query in queries]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(retriever.invoke, queries)) == expected


# --- tools, traces, serialisation


async def test_an_agent_tool_gives_the_model_texts_and_keeps_the_documents(retriever):
    tool = retriever.as_agent_tool("kb_search", "Search the notes.")
    assert (tool.name, tool.description) == ("kb_search", "Search the notes.")
    assert list(tool.args) == ["query"]
    call = {"name": "kb_search", "args": {"query": TEXTS["cat"]}, "id": "1", "type": "tool_call"}
    for message in (tool.invoke(call), await tool.ainvoke(call)):
        assert message.content.split("\n\n")[0] == TEXTS["cat"]
        assert message.artifact[0].id == "cat"
        assert message.artifact[0].metadata["score"] > 0.9
    assert tool.invoke({**call, "args": {"query": ""}}).content == ""


class Seen(BaseCallbackHandler):
    def __init__(self):
        self.events = []

    def on_retriever_start(self, serialized, query, *, metadata=None, tags=None, name=None, **kwargs):
        self.events.append(("start", query, metadata, tags, name))

    def on_retriever_end(self, documents, **kwargs):
        self.events.append(("end", ids(documents)))

    def on_retriever_error(self, error, **kwargs):
        self.events.append(("error", type(error)))


async def test_traces_show_query_documents_model_and_scenario(watched):
    with KnowledgeRetriever(watched) as knowledge:
        knowledge.add(to_documents(documents()))
        retriever = RagRetriever(retriever=knowledge, k=1, tags=["kb"])
        seen = Seen()
        retriever.invoke(TEXTS["cat"], {"callbacks": [seen]})
        await retriever.ainvoke(TEXTS["cat"], {"callbacks": [seen]})
        with pytest.raises(InputError):
            retriever.invoke("cat", {"callbacks": [seen]}, top_k=3)
    kinds = [event[0] for event in seen.events]
    assert kinds == ["start", "end", "start", "end", "start", "error"]
    _, query, metadata, tags, name = seen.events[0]
    assert (query, tags, name) == (TEXTS["cat"], ["kb"], "RagRetriever")
    assert metadata["ls_retriever_name"] == "rag"
    assert (metadata["ls_embedding_provider"], metadata["ls_embedding_model"]) == ("rag_embedder", "words:qa")
    assert seen.events[1] == ("end", ["cat"])
    assert seen.events[-1] == ("error", InputError)


async def test_events_are_streamed(retriever):
    events = [event async for event in retriever.astream_events(TEXTS["cat"], version="v2")]
    assert [event["event"] for event in events] == ["on_retriever_start", "on_retriever_end"]
    assert events[1]["data"]["output"][0].id == "cat"


def test_an_open_store_is_not_pickled_and_says_what_to_do(retriever):
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied; open its path again"):
            attempt(retriever)
    assert dumpd(retriever)["type"] == "not_implemented"
    assert dumpd(retriever)["id"][-1] == "RagRetriever"


# --- from documents


def test_documents_survive_the_way_in_and_out(watched, tmp_path):
    given = [
        *documents(),
        Document("no id of its own", metadata={"title": "A title", "nested": {"page": [1, None, True]}}),
    ]
    before = copy.deepcopy(given)
    retriever = RagRetriever.from_documents(given, watched, path=tmp_path / "kb", k=10, title_key="title")
    assert given == before
    assert watched.documents[-1] == "A title no id of its own"
    found = {document.page_content: document for document in retriever.invoke("no id of its own")}
    for document in given:
        same = found[document.page_content]
        assert {name: same.metadata[name] for name in document.metadata} == document.metadata
        assert document.id is None or same.id == document.id
    retriever.retriever.close()
    watched.documents.clear()
    again = RagRetriever.from_documents(given, watched, path=tmp_path / "kb", k=1, title_key="title")
    assert len(again.retriever) == len(given)
    assert watched.documents == []  # unchanged: not encoded again
    again.retriever.close()


def test_long_documents_are_split_on_request(watched):
    text = " ".join(f"word{n}" for n in range(40))
    retriever = RagRetriever.from_documents([Document(text, id="long")], watched, chunk_tokens=10)
    (found,) = retriever.invoke("word35", k=1)
    assert "word35" in found.page_content
    assert found.metadata["document_id"] == "long"
    assert text[found.metadata["start"] : found.metadata["end"]] == found.page_content
    retriever.retriever.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("text", "got a bare str; expected a list of LangChain Documents"),
        (Document("text"), "got a bare Document"),
        (["text"], r"documents\[0\]: got builtins.str; expected a Document of langchain_core"),
        ([Document("a"), rag_embedder.Document("b")], r"documents\[1\]: got rag_embedder.types.Document; expected"),
        (None, "got a bare NoneType"),
    ],
)
def test_what_is_no_list_of_documents_is_refused(wrong, message):
    with pytest.raises(InvalidTextError, match=message):
        RagRetriever.from_documents(wrong, WordEncoder())


def test_a_document_that_cannot_be_stored_leaves_no_open_store(tmp_path):
    with pytest.raises(InputError, match="metadata"):
        RagRetriever.from_documents([Document("x", metadata={"when": object()})], WordEncoder(), path=tmp_path / "kb")
    with pytest.raises(ValidationError, match=r"\nk\n"):
        RagRetriever.from_documents(documents(), WordEncoder(), path=tmp_path / "kb", k=0)
    retriever = RagRetriever.from_documents(documents(), WordEncoder(), path=tmp_path / "kb")
    assert len(retriever.retriever) == len(TEXTS)
    retriever.retriever.close()
