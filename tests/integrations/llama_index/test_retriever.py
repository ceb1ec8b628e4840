"""RagRetriever: our five retrievers as LlamaIndex's, and what its own vector retriever does instead."""

import math

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import RetrieverTool

from integrations.conformance.llama_index_retriever import RetrieverConformance
from integrations.conformance.loop_ticks import count_ticks
from integrations.llama_index.embedding import RagEmbedding
from integrations.llama_index.nodes import documents_of
from integrations.llama_index.retriever import RagRetriever
from rag_embedder import (
    ConversationRetriever,
    Demonstration,
    DemonstrationRetriever,
    Document,
    KnowledgeRetriever,
    MemoryRetriever,
    Tool,
    ToolRetriever,
    Turn,
)
from rag_embedder.errors import ConfigError, FilterError, InputError, UserRequiredError
from rag_embedder.types import Hit
from tests.retriever_cases import CASES, TEXTS, Watched, WordEncoder


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def knowledge(watched):
    retriever = KnowledgeRetriever(watched)
    retriever.add([Document(text, id=id_, metadata={"length": len(text)}) for id_, text in TEXTS.items()])
    return retriever


class NaiveRetriever(BaseRetriever):
    """The obvious adapter: it keeps its embedding in the bundle, as LlamaIndex's own does, and its nodes."""

    def __init__(self, knowledge, encoder, scenario="qa"):
        super().__init__()
        self._knowledge, self._encoder, self._scenario = knowledge, encoder, scenario
        self._nodes = {}

    def _retrieve(self, query_bundle):
        if query_bundle.embedding is None:
            query_bundle.embedding = self._encoder.encode_queries([query_bundle.query_str], self._scenario)[0].tolist()
        found = self._knowledge.retrieve(query_bundle.query_str, 3)
        for hit in found:
            self._nodes.setdefault(hit.id, TextNode(id_=hit.id, text=hit.item.text))
        return [NodeWithScore(node=self._nodes[hit.id], score=hit.score) for hit in found]


class TestKnowledgeConforms(RetrieverConformance):
    queries = (TEXTS["rain"], TEXTS["cat"], TEXTS["capital"])

    @pytest.fixture
    def retriever(self, knowledge):
        return RagRetriever(knowledge, k=3)

    @pytest.fixture
    def slow_retriever(self, knowledge, watched):
        watched.seconds = 0.3
        return RagRetriever(knowledge, k=3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestAllFiveConform(RetrieverConformance):
    queries = (TEXTS["rain"], TEXTS["cat"])

    @pytest.fixture
    def opened(self, case, watched):
        with case.open(watched) as retriever:
            case.add(retriever, TEXTS)
            yield RagRetriever(retriever, k=3, **case.options)

    @pytest.fixture
    def retriever(self, opened):
        return opened

    @pytest.fixture
    def slow_retriever(self, opened, watched):
        watched.seconds = 0.3
        return opened


class TestTheSuiteFailsOnANaiveAdapter:
    @pytest.fixture
    def suite(self):
        suite = RetrieverConformance()
        suite.queries = (TEXTS["rain"], TEXTS["cat"])
        return suite

    @pytest.fixture
    def naive(self, knowledge, watched):
        return NaiveRetriever(knowledge, watched)

    @pytest.fixture
    def llama_indexs(self, watched):
        nodes = [TextNode(id_=id_, text=text) for id_, text in TEXTS.items()]
        return VectorStoreIndex(nodes, embed_model=RagEmbedding(embedder=watched)).as_retriever(similarity_top_k=3)

    async def test_that_writes_into_the_bundle(self, suite, naive, llama_indexs):
        for retriever in (naive, llama_indexs):
            with pytest.raises(AssertionError):
                await suite.test_the_bundle_stays_as_it_is(retriever)

    async def test_that_searches_with_whatever_embedding_it_finds(self, suite, llama_indexs):
        with pytest.raises(AssertionError):
            await suite.test_an_embedding_that_another_retriever_left_is_not_used(llama_indexs)

    async def test_that_fails_on_an_empty_question(self, suite, llama_indexs):
        with pytest.raises(AssertionError):
            await suite.test_an_empty_question_finds_nothing(llama_indexs, "")

    async def test_that_retrieves_on_the_event_loop(self, suite, naive, watched):
        watched.seconds = 0.1
        with pytest.raises(AssertionError):
            await suite.test_async_calls_leave_the_event_loop_free(naive)

    def test_that_hands_out_its_own_nodes(self, suite, naive):
        with pytest.raises(AssertionError):
            suite.test_nodes_belong_to_the_caller(naive)


# --- traps of the framework


def test_a_bundle_taken_through_two_scenarios_keeps_the_first_ones_vector_in_llama_index_and_not_here(watched):
    nodes = [TextNode(id_=id_, text=text) for id_, text in TEXTS.items()]
    theirs = [
        VectorStoreIndex(nodes, embed_model=RagEmbedding(embedder=watched, scenario=scenario)).as_retriever()
        for scenario in ("qa", "tool")
    ]
    knowledge, tools = KnowledgeRetriever(watched), ToolRetriever(watched)
    knowledge.add(documents_of(nodes))
    tools.add([Tool(id_, text) for id_, text in TEXTS.items()])
    ours = [RagRetriever(knowledge), RagRetriever(tools)]

    def scores_of_the_second(retrievers, bundle):
        retrievers[0].retrieve(bundle)
        return [node.score for node in retrievers[1].retrieve(bundle)]

    right = [node.score for node in theirs[1].retrieve("cat on the tree")]
    assert scores_of_the_second(theirs, QueryBundle("cat on the tree")) != right  # the trap
    right = [node.score for node in ours[1].retrieve("cat on the tree")]
    assert scores_of_the_second(ours, QueryBundle("cat on the tree")) == right


def test_an_empty_question_is_an_error_in_llama_index_and_finds_nothing_here(watched, knowledge):
    index = VectorStoreIndex([TextNode(text="cat")], embed_model=RagEmbedding(embedder=watched))
    with pytest.raises(TypeError):
        index.as_retriever().retrieve("")
    watched.queries.clear()
    assert RagRetriever(knowledge).retrieve("") == []
    assert watched.queries == []


async def test_llama_indexs_default_blocks_the_loop_and_ours_does_not(knowledge, watched):
    watched.seconds = 0.3
    _, naive = await count_ticks(NaiveRetriever(knowledge, watched).aretrieve("cat"))
    _, ours = await count_ticks(RagRetriever(knowledge).aretrieve("cat"))
    assert naive <= 1
    assert ours >= 5


@pytest.mark.parametrize("score", [0.0, -0.25])
def test_a_score_of_zero_or_less_stays_what_it_is(score):
    class Scored:
        def retrieve(self, query, k=5):
            return [Hit(Document("text", id="a"), "a", score, 1)]

        async def aretrieve(self, query, k=5):
            return self.retrieve(query)

    (found,) = RagRetriever(Scored()).retrieve("anything")
    assert found.score == score


# --- what is found


def test_users_and_sessions_are_kept_apart(watched):
    with MemoryRetriever(watched) as memory:
        for user in ("ann", "bob"):
            for session in ("monday", "tuesday"):
                memory.add_turns([Turn("user", f"secret of {user} on {session}")], user=user, session=session)
        found = RagRetriever(memory, user="ann").retrieve("secret of bob")
        assert {node.node.metadata["user"] for node in found} == {"ann"}
        found = RagRetriever(memory, user="ann", session="monday").retrieve("secret of bob on tuesday")
        assert [node.node.text for node in found] == ["user: secret of ann on monday"]


# --- options


def test_k_threshold_filters_and_mode_are_heeded(knowledge):
    assert len(RagRetriever(knowledge, k=2).retrieve("the cat")) == 2
    scores = [node.score for node in RagRetriever(knowledge).retrieve(TEXTS["cat"])]
    some = RagRetriever(knowledge, score_threshold=scores[1]).retrieve(TEXTS["cat"])
    assert [node.score for node in some] == scores[:2]
    short = RagRetriever(knowledge, k=10, filters={"length": {"lt": 31}}).retrieve("the")
    assert {node.node.node_id for node in short} == {id_ for id_, text in TEXTS.items() if len(text) < 31}
    lexical = RagRetriever(knowledge, mode="lexical").retrieve("paris")
    assert [node.node.node_id for node in lexical] == ["capital"]


def test_further_options_of_the_retriever_are_passed_on(watched):
    with DemonstrationRetriever(watched) as shown:
        shown.add([Demonstration(text, "yes", id=id_) for id_, text in TEXTS.items()])
        first = [node.node.node_id for node in RagRetriever(shown, k=3).retrieve("the cat")]
        last = [
            node.node.node_id for node in RagRetriever(shown, k=3, options={"order": "best_last"}).retrieve("the cat")
        ]
    assert last == first[::-1]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"k": 0}, InputError, "k: got 0"),
        ({"k": "3"}, InputError, "k: got '3'"),
        ({"score_threshold": math.nan}, InputError, "score_threshold: got nan"),
        ({"score_threshold": True}, InputError, "score_threshold: got True"),
        ({"mode": "magic"}, ConfigError, "unknown mode 'magic'"),
        ({"user": "ann"}, InputError, "KnowledgeRetriever has no option 'user'"),
        ({"options": {"recency": 0.5}}, InputError, "KnowledgeRetriever has no option 'recency'"),
        ({"options": {"mode": "dense"}}, InputError, "options: got 'mode'"),
        ({"filters": {"a": {"like": 1}}}, FilterError, "unknown operator 'like'"),
        ({"similarity_top_k": 3}, TypeError, "similarity_top_k"),
    ],
)
def test_mistakes_are_refused_at_construction(knowledge, options, error, said):
    with pytest.raises(error, match=said):
        RagRetriever(knowledge, **options)


def test_a_memory_without_its_user_and_filters_for_memories_are_refused(watched):
    with MemoryRetriever(watched) as memory:
        with pytest.raises(UserRequiredError, match="needs user="):
            RagRetriever(memory)
        with pytest.raises(InputError, match="MemoryRetriever has no option 'filter'"):
            RagRetriever(memory, user="ann", filters={"year": 1})


@pytest.mark.parametrize("wrong", ["a path", None, WordEncoder()])
def test_what_is_no_retriever_is_refused(wrong):
    with pytest.raises(ConfigError, match="expected a retriever of rag_embedder"):
        RagRetriever(wrong)


# --- what a query is


def test_the_one_text_that_a_query_transformation_chose_is_asked_with(knowledge, watched):
    watched.queries.clear()
    bundle = QueryBundle("Which animal?", custom_embedding_strs=["the blue cat"])
    assert RagRetriever(knowledge, k=1).retrieve(bundle)[0].node.node_id == "cat"
    assert watched.queries == ["the blue cat"]


def test_several_texts_and_images_are_refused_not_ignored(knowledge):
    with pytest.raises(InputError, match="include_original=False"):
        RagRetriever(knowledge).retrieve(QueryBundle("q", custom_embedding_strs=["one", "two"]))
    with pytest.raises(InputError, match="image_path"):
        RagRetriever(knowledge).retrieve(QueryBundle("q", image_path="cat.png"))


# --- in the framework


@pytest.mark.parametrize("mode", list(FUSION_MODES))
def test_fusion_over_two_of_our_retrievers_sees_one_node_per_hit(knowledge, watched, mode):
    conversation = ConversationRetriever(watched)
    conversation.add([Document(text, id=id_, metadata={"length": len(text)}) for id_, text in TEXTS.items()])
    fusion = QueryFusionRetriever(
        [RagRetriever(knowledge), RagRetriever(conversation)],
        llm=MockLLM(),
        num_queries=1,
        mode=mode,
        similarity_top_k=9,
    )
    found = [node.node.node_id for node in fusion.retrieve(TEXTS["cat"])]
    assert found[0] == "cat"
    assert len(found) == len(set(found))


async def test_an_agents_retriever_tool_returns_its_nodes(knowledge):
    tool = RetrieverTool.from_defaults(RagRetriever(knowledge, k=1), description="facts")
    assert TEXTS["cat"] in str(await tool.acall(TEXTS["cat"]))


async def test_instrumentation_sees_start_and_end(knowledge):
    events = []

    class Handler(BaseEventHandler):
        def handle(self, event, **kwargs):
            if isinstance(event, RetrievalStartEvent | RetrievalEndEvent):
                events.append(event)

    root, handler = get_dispatcher(), Handler()
    root.add_event_handler(handler)
    try:
        RagRetriever(knowledge, k=2).retrieve("cat")
        await RagRetriever(knowledge, k=1).aretrieve("cat")
    finally:
        root.event_handlers.remove(handler)
    assert [type(event) for event in events] == [RetrievalStartEvent, RetrievalEndEvent] * 2
    assert [len(event.nodes) for event in events[1::2]] == [2, 1]
