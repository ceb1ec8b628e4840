"""RagReranker: nodes in a new order, and the ones that were given left alone."""

import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from integrations.conformance.loop_ticks import count_ticks
from integrations.llama_index.reranker import RagReranker
from integrations.llama_index.retriever import RagRetriever
from rag_embedder import Document, KnowledgeRetriever, Reranker
from rag_embedder.errors import InputError
from tests.retriever_cases import TEXTS, Watched, WordEncoder
from tests.tiny_rerankers import write_cross_encoder


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def nodes():
    return [
        NodeWithScore(node=TextNode(id_=id_, text=text, metadata={"from": "test"}), score=number / 10)
        for number, (id_, text) in enumerate(TEXTS.items())
    ]


class CrossEncoder:
    """Scores by length of the text, and notes what it was asked."""

    def __init__(self, seconds=0.0):
        self.pairs, self.seconds = [], seconds

    def predict(self, pairs):
        time.sleep(self.seconds)
        self.pairs += pairs
        return [float(len(text)) for _, text in pairs]


class NaiveReranker(BaseNodePostprocessor):
    """The obvious adapter, as LlamaIndex's own rerankers are: new scores are written into the nodes given."""

    def _postprocess_nodes(self, nodes, query_bundle=None):
        for node in nodes:
            node.node.metadata["retrieval_score"] = node.score
            node.score = float(len(node.text))
        return sorted(nodes, key=lambda node: -node.score)


def ids(nodes):
    return [node.node.node_id for node in nodes]


def test_an_embedder_orders_by_the_cosine_of_question_and_text(watched, nodes):
    question = "the blue cat in the house"
    ranked = RagReranker(scorer=watched, k=3).postprocess_nodes(nodes, query_str=question)
    knowledge = KnowledgeRetriever(WordEncoder())
    knowledge.add([Document(f"from: test\n\n{text}", id=id_) for id_, text in TEXTS.items()])
    expected = knowledge.retrieve(question, 3)
    assert ids(ranked) == [hit.id for hit in expected]
    assert [node.score for node in ranked] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    assert watched.queries == [question]


def test_a_cross_encoder_reads_question_and_embedded_text_together(nodes):
    for node in nodes:
        node.node.excluded_embed_metadata_keys = ["from"]
    scorer = CrossEncoder()
    ranked = RagReranker(scorer=scorer, k=2).postprocess_nodes(nodes, query_str="q")
    assert scorer.pairs == [("q", text) for text in TEXTS.values()]
    assert [node.score for node in ranked] == sorted((float(len(text)) for text in TEXTS.values()), reverse=True)[:2]


def test_the_usual_reranker_writes_into_the_nodes_given_and_ours_does_not(nodes):
    usual, ours = copy.deepcopy(nodes), copy.deepcopy(nodes)
    NaiveReranker().postprocess_nodes(usual, query_str="q")
    assert [node.score for node in usual] != [node.score for node in nodes]  # the trap
    for keep in (False, True):
        ranked = RagReranker(scorer=CrossEncoder(), keep_retrieval_score=keep).postprocess_nodes(ours, query_str="q")
        assert ranked[0].score == max(len(node.get_content(metadata_mode=MetadataMode.EMBED)) for node in nodes)
        assert ours == nodes


def test_the_retrieval_score_is_kept_on_request_and_read_by_no_model(nodes):
    ranked = RagReranker(scorer=CrossEncoder(), keep_retrieval_score=True).postprocess_nodes(nodes, query_str="q")
    given = {node.node.node_id: node for node in nodes}
    for node in ranked:
        before = given[node.node.node_id]
        assert node.node.metadata == {"from": "test", "retrieval_score": before.score}
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert node.node.get_content(metadata_mode=mode) == before.node.get_content(metadata_mode=mode)
    plain = RagReranker(scorer=CrossEncoder()).postprocess_nodes(nodes, query_str="q")
    assert all(node.node.metadata == {"from": "test"} for node in plain)


def test_k_top_n_and_threshold(nodes, watched):
    assert len(RagReranker(scorer=watched, k=2).postprocess_nodes(nodes, query_str="cat")) == 2
    assert len(RagReranker(scorer=watched, top_n=2).postprocess_nodes(nodes, query_str="cat")) == 2
    assert len(RagReranker(scorer=watched, k=100).postprocess_nodes(nodes, query_str="cat")) == len(nodes)
    scores = [node.score for node in RagReranker(scorer=watched, k=9).postprocess_nodes(nodes, query_str="cat")]
    some = RagReranker(scorer=watched, k=9, score_threshold=scores[2]).postprocess_nodes(nodes, query_str="cat")
    assert [node.score for node in some] == scores[:3]


async def test_nothing_in_and_empty_questions_give_nothing_and_ask_nobody(nodes):
    scorer = CrossEncoder()
    reranker = RagReranker(scorer=scorer)
    assert reranker.postprocess_nodes([], query_str="q") == []
    assert reranker.postprocess_nodes(nodes, query_bundle=QueryBundle("")) == []
    assert await reranker.apostprocess_nodes(nodes, query_str=" ") == []
    assert scorer.pairs == []
    with pytest.raises(InputError, match="query_bundle: got None"):
        reranker.postprocess_nodes(nodes)


async def test_async_gives_the_same_and_leaves_the_event_loop_free(nodes):
    reranker = RagReranker(scorer=CrossEncoder(seconds=0.3))
    ranked, ticks = await count_ticks(reranker.apostprocess_nodes(nodes, query_str="q"))
    assert ticks >= 5
    assert ranked == reranker.postprocess_nodes(nodes, query_str="q")


def test_sixteen_threads_get_the_same(nodes, watched):
    reranker = RagReranker(scorer=watched)
    expected = {question: ids(reranker.postprocess_nodes(nodes, query_str=question)) for question in TEXTS.values()}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda q: ids(reranker.postprocess_nodes(nodes, query_str=q)), list(expected) * 8))
    assert found == list(expected.values()) * 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scorer": "cross-encoder/name"}, "scorer: got str; expected an Embedder"),
        ({"scenario": "cooking"}, "unknown scenario 'cooking'"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"top_k": 3}, "top_k"),
        ({"score_threshold": float("nan")}, "finite"),
    ],
)
def test_mistakes_are_refused_at_construction(embedder, options, said):
    with pytest.raises(ValueError, match=said):
        RagReranker(**{"scorer": embedder, **options})


def test_the_shipped_model_is_the_default_and_survives_dict_and_pickle(nodes, minilm):
    reranker = RagReranker(k=3, scenario="qa")
    question = "How is the weather in Norway?"
    ranked = reranker.postprocess_nodes(nodes, query_str=question)
    assert ids(ranked)[0] == "rain"
    for again in (RagReranker.from_dict(reranker.to_dict()), pickle.loads(pickle.dumps(reranker))):
        assert again.postprocess_nodes(nodes, query_str=question) == ranked
    with pytest.raises(TypeError, match="live scorer cannot be pickled"):
        pickle.dumps(RagReranker(scorer=minilm))


def test_it_works_in_a_query_engine_and_tells_callbacks_and_events(watched):
    knowledge = KnowledgeRetriever(watched)
    knowledge.add([Document(text, id=id_) for id_, text in TEXTS.items()])
    handler, events = LlamaDebugHandler(print_trace_on_end=False), []

    class Handler(BaseEventHandler):
        def handle(self, event, **kwargs):
            if isinstance(event, ReRankStartEvent | ReRankEndEvent):
                events.append(event)

    root, seen = get_dispatcher(), Handler()
    root.add_event_handler(seen)
    engine = RetrieverQueryEngine(
        RagRetriever(knowledge, k=6),
        response_synthesizer=get_response_synthesizer(llm=MockLLM()),
        node_postprocessors=[RagReranker(scorer=CrossEncoder(), k=2)],
        callback_manager=CallbackManager([handler]),
    )
    try:
        sources = engine.query("cat").source_nodes
    finally:
        root.event_handlers.remove(seen)
    assert [node.text for node in sources] == sorted(TEXTS.values(), key=lambda text: -len(text))[:2]
    assert [len(event.nodes) for event in events] == [6, 2]
    assert events[0].model_name == "CrossEncoder"
    assert len(handler.get_event_pairs(CBEventType.RERANKING)) == 1


def test_our_own_reranker_orders_nodes_as_its_scores_do(nodes, tmp_path):
    reranker = Reranker.load(write_cross_encoder(tmp_path / "reranker"))
    texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
    scores = dict(zip(TEXTS, reranker.score("weather in oslo", texts).tolist(), strict=True))
    found = RagReranker(scorer=reranker, k=3).postprocess_nodes(nodes, query_str="weather in oslo")
    assert [node.node.id_ for node in found] == sorted(scores, key=lambda id_: -scores[id_])[:3]
    assert [node.score for node in found] == pytest.approx([scores[node.node.id_] for node in found])
