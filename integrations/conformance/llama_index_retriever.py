"""What a LlamaIndex retriever must do: `RetrieverConformance`, for any `BaseRetriever`."""

import asyncio
import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from integrations.conformance.loop_ticks import check_loop_was_free, count_ticks


class RetrieverConformance:
    """Subclass it, give the fixtures, and pytest runs its tests on your retriever.

        class TestMine(RetrieverConformance):
            queries = ("a question", "another one")

            @pytest.fixture
            def retriever(self):
                return MyRetriever(...)

    The retriever must find at least two nodes for each of `queries`. `slow_retriever` is a fixture too; its test is
    skipped without it.
    """

    queries: Sequence[str] = ()
    """At least two questions with different best nodes."""

    @pytest.fixture
    def retriever(self) -> BaseRetriever:
        """The object under test."""
        raise NotImplementedError("give the fixture `retriever`")

    @pytest.fixture
    def slow_retriever(self) -> BaseRetriever:
        """The same, but a retrieval takes at least 0.3 seconds."""
        pytest.skip("no fixture slow_retriever")

    def test_nodes_come_with_scores_best_first_each_once(self, retriever: BaseRetriever) -> None:
        """Every score is a finite number, higher for a better node."""
        for query in self.queries:
            found = retriever.retrieve(query)
            assert len(found) >= 2
            assert all(isinstance(node, NodeWithScore) for node in found)
            scores = [node.score for node in found]
            assert all(isinstance(score, float) and math.isfinite(score) for score in scores)
            assert scores == sorted(scores, key=lambda score: -(score or 0.0))
            assert len({node.node.node_id for node in found}) == len(found)

    def test_different_questions_have_different_best_nodes(self, retriever: BaseRetriever) -> None:
        """Otherwise the other tests would see nothing."""
        assert len({retriever.retrieve(query)[0].node.node_id for query in self.queries}) >= 2

    def test_a_bundle_finds_what_its_question_finds(self, retriever: BaseRetriever) -> None:
        """`retrieve` takes a string or a `QueryBundle`."""
        for query in self.queries:
            assert _found(retriever.retrieve(QueryBundle(query))) == _found(retriever.retrieve(query))

    @pytest.mark.parametrize("query", ["", "   "])
    async def test_an_empty_question_finds_nothing(self, retriever: BaseRetriever, query: str) -> None:
        """Agents do send them."""
        assert _outcome(lambda: retriever.retrieve(query)) == []
        found = await asyncio.gather(retriever.aretrieve(query), return_exceptions=True)
        assert found == [[]]

    async def test_the_bundle_stays_as_it_is(self, retriever: BaseRetriever) -> None:
        """A retriever that leaves its embedding in the bundle spoils it for the next, which has another model."""
        bundle = QueryBundle(self.queries[0])
        before = copy.deepcopy(bundle)
        retriever.retrieve(bundle)
        assert bundle == before
        await retriever.aretrieve(bundle)
        assert bundle == before

    async def test_an_embedding_that_another_retriever_left_is_not_used(self, retriever: BaseRetriever) -> None:
        """Nobody knows of which model, role or instruction it is."""
        first, second = self.queries[:2]
        donor = QueryBundle(second)
        retriever.retrieve(donor)
        for left in (donor.embedding, [1.0, 0.0, 0.0]):
            bundle = QueryBundle(first, embedding=left)
            assert _outcome(lambda bundle=bundle: _found(retriever.retrieve(bundle))) == _found(
                retriever.retrieve(first)
            )
            (found,) = await asyncio.gather(retriever.aretrieve(bundle), return_exceptions=True)
            assert not isinstance(found, BaseException)
            assert _found(found) == _found(retriever.retrieve(first))

    async def test_async_finds_the_same_also_many_at_once(self, retriever: BaseRetriever) -> None:
        """In any number of tasks."""
        expected = [_found(retriever.retrieve(query)) for query in self.queries]
        found = await asyncio.gather(*(retriever.aretrieve(query) for query in list(self.queries) * 8))
        assert [_found(nodes) for nodes in found] == expected * 8

    async def test_async_calls_leave_the_event_loop_free(self, slow_retriever: BaseRetriever) -> None:
        """LlamaIndex's own default retrieves on the loop."""
        found, ticks = await count_ticks(slow_retriever.aretrieve(self.queries[0]))
        assert found
        check_loop_was_free(ticks)

    def test_many_threads_find_the_same(self, retriever: BaseRetriever) -> None:
        """Sixteen of them."""
        expected = [_found(retriever.retrieve(query)) for query in self.queries]
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(retriever.retrieve, list(self.queries) * 16))
        assert [_found(nodes) for nodes in found] == expected * 16

    def test_nodes_belong_to_the_caller(self, retriever: BaseRetriever) -> None:
        """Post-processors do write into them; the next retrieval must not see it."""
        expected = _found(retriever.retrieve(self.queries[0]))
        for node in retriever.retrieve(self.queries[0]):
            node.score = -1.0
            node.node.metadata["written"] = True
            node.node.set_content("overwritten")
        again = retriever.retrieve(self.queries[0])
        assert _found(again) == expected
        assert not any("written" in node.node.metadata or node.text == "overwritten" for node in again)

    def test_callbacks_are_told(self, retriever: BaseRetriever) -> None:
        """One RETRIEVE event with the nodes that were found."""
        handler = LlamaDebugHandler(print_trace_on_end=False)
        before = retriever.callback_manager
        retriever.callback_manager = CallbackManager([handler])
        try:
            found = retriever.retrieve(self.queries[0])
        finally:
            retriever.callback_manager = before
        ((_, end),) = handler.get_event_pairs(CBEventType.RETRIEVE)
        assert end.payload is not None
        assert _found(end.payload["nodes"]) == _found(found)

    def test_a_query_engine_gives_its_sources(self, retriever: BaseRetriever) -> None:
        """The nodes, in their order, with their scores."""
        llm = MockLLM()
        engine = RetrieverQueryEngine(retriever, response_synthesizer=get_response_synthesizer(llm=llm))
        response = engine.query(self.queries[0])
        assert _found(response.source_nodes) == _found(retriever.retrieve(self.queries[0]))

    async def test_fusion_gets_the_same_nodes(self, retriever: BaseRetriever) -> None:
        """One question, no generated ones: every node comes back."""
        fusion = QueryFusionRetriever([retriever], llm=MockLLM(), num_queries=1, similarity_top_k=100)
        expected = {node.node.node_id for node in retriever.retrieve(self.queries[0])}
        assert {node.node.node_id for node in await fusion.aretrieve(self.queries[0])} == expected

    async def test_the_evaluator_counts_its_hits(self, retriever: BaseRetriever) -> None:
        """Nodes are known by their ids."""
        evaluator = RetrieverEvaluator.from_metric_names(["hit_rate", "mrr"], retriever=retriever)
        best = retriever.retrieve(self.queries[0])[0].node.node_id
        result = await evaluator.aevaluate(self.queries[0], expected_ids=[best])
        assert result.metric_vals_dict == {"hit_rate": 1.0, "mrr": 1.0}
        result = await evaluator.aevaluate(self.queries[0], expected_ids=["no such node"])
        assert result.metric_vals_dict == {"hit_rate": 0.0, "mrr": 0.0}


def _found(nodes: Sequence[NodeWithScore]) -> list[tuple[str, float]]:
    """Ids and scores; rounded, as a model in batches is."""
    return [(node.node.node_id, round(node.score or 0.0, 4)) for node in nodes]


def _outcome(call: Callable[[], object]) -> object:
    """What a call gives, or the exception that it raises: a suite's tests fail by assertion."""
    try:
        return call()
    except Exception as fault:  # noqa: BLE001
        return fault
