"""A retriever with a reranker is its first stage, ordered by hand; what is filtered out is never scored."""

import asyncio

import numpy as np
import pytest

from rag_embedder import (
    ConversationRetriever,
    Demonstration,
    DemonstrationRetriever,
    Document,
    KnowledgeRetriever,
    MemoryRetriever,
    Reranker,
    Tool,
    ToolRetriever,
    Turn,
)
from rag_embedder.errors import ConfigError, InputError
from tests.retriever_cases import CASES, TEXTS, WordEncoder
from tests.tiny_rerankers import write_cross_encoder


class Shortest:
    """Prefers short texts; notes what it was asked."""

    def __init__(self):
        self.asked, self.calls = [], 0

    def score_pairs(self, pairs):
        self.asked.extend(pairs)
        self.calls += 1
        return np.array([-len(text) for _, text in pairs], dtype=np.float32)


@pytest.fixture
def encoder():
    return WordEncoder()


@pytest.fixture
def shortest():
    return Shortest()


@pytest.mark.parametrize("mode", ["dense", "hybrid", "lexical"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_the_first_stage_ordered_by_hand(case, mode, encoder, tmp_path_factory):
    reranker = Reranker.load(write_cross_encoder(tmp_path_factory.mktemp("model") / "reranker"))
    with case.open(encoder) as plain, case.open(encoder, reranker=reranker, rerank_depth=4) as two_stages:
        for retriever in (plain, two_stages):
            case.add(retriever, TEXTS)
        query = "the cat and the train in paris"
        first = case.retrieve(plain, query, k=4, mode=mode)
        found = case.retrieve(two_stages, query, k=3, mode=mode)
        expected = reranker.rerank(query, first, k=3)
        assert [(hit.id, hit.rank) for hit in found] == [(hit.id, hit.rank) for hit in expected]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
        assert [hit.retrieval_score for hit in found] == pytest.approx([hit.retrieval_score for hit in expected])
        assert all(hit.retrieval_score is None for hit in first)
        assert case.retrieve(two_stages, " ", k=3) == []


def test_only_the_best_of_the_first_stage_are_read_and_at_least_k(encoder, shortest):
    texts = [f"paris {'x' * number}" for number in range(9)]
    for depth, k, read in ((3, 2, 3), (3, 5, 5), (50, 2, 9)):
        shortest.asked.clear()
        with KnowledgeRetriever(encoder, reranker=shortest, rerank_depth=depth) as knowledge:
            knowledge.add(texts)
            assert len(knowledge.retrieve("paris", k=k)) == k
        assert len(shortest.asked) == read


def test_what_a_filter_excludes_is_never_scored(encoder, shortest):
    with KnowledgeRetriever(encoder, reranker=shortest) as knowledge:
        knowledge.add([Document(f"paris {year}", id=str(year), metadata={"year": year}) for year in (2019, 2020, 2021)])
        hits = knowledge.retrieve("paris", filter={"year": {"gte": 2020}})
        assert {text for _, text in shortest.asked} == {"paris 2020", "paris 2021"}
        assert sorted(hit.id for hit in hits) == ["2020", "2021"]
        assert hits[0].score == hits[1].score  # then the first stage decides
        assert hits[0].retrieval_score >= hits[1].retrieval_score
        shortest.asked.clear()
        assert knowledge.retrieve("paris", filter={"year": 1900}) == []
        assert shortest.asked == []


def test_memories_of_others_and_of_other_sessions_are_never_scored(encoder, shortest):
    with MemoryRetriever(encoder, reranker=shortest) as memory:
        memory.add_turns([Turn("user", "ann likes oslo")], user="ann", session="a")
        memory.add_turns([Turn("user", "ann likes paris")], user="ann", session="b")
        memory.add_text("ann wrote about rain in oslo", user="ann")
        memory.add_turns([Turn("user", "bob likes oslo")], user="bob")
        hits = memory.retrieve("oslo", user="ann", session="a")
        assert shortest.asked == [("oslo", "Speaker 1: ann likes oslo")]
        assert [hit.score for hit in hits] == [-len("Speaker 1: ann likes oslo")]
        shortest.asked.clear()
        assert len(memory.retrieve("oslo", user="ann")) == 3
        assert not any("bob" in text for _, text in shortest.asked)
        with pytest.raises(ConfigError, match="recency is mixed with cosines; expected a retriever without a reranker"):
            memory.retrieve("oslo", user="ann", recency=0.5)
        assert memory.context("oslo", user="ann", k=1, max_tokens=64) == "[session a]\nuser: ann likes oslo"


def test_a_batch_is_scored_in_one_call(encoder, shortest):
    with KnowledgeRetriever(encoder, reranker=shortest) as knowledge:
        knowledge.add(["paris and oslo", "oslo", "paris"])
        rankings = knowledge.retrieve_batch(["paris", "", "oslo"], k=2)
    assert shortest.calls == 1
    assert [[hit.item.text for hit in hits] for hits in rankings] == [["oslo", "paris"], [], ["oslo", "paris"]]


def test_async_calls_give_the_same(encoder, shortest):
    with KnowledgeRetriever(encoder, reranker=shortest) as knowledge:
        knowledge.add(["paris and oslo", "oslo", "paris"])
        assert asyncio.run(knowledge.aretrieve("paris", k=2)) == knowledge.retrieve("paris", k=2)


def test_pinned_tools_are_scored_like_the_others(encoder, shortest):
    with ToolRetriever(encoder, reranker=shortest, rerank_depth=1, pinned=["zz"]) as tools:
        tools.add([Tool("cat", "A blue cat."), Tool("zz", "Something else.")])
        hits = tools.retrieve("the blue cat", k=1)
        assert [(hit.id, hit.score) for hit in hits] == [
            ("cat", -len("cat: A blue cat.")),
            ("zz", -len("zz: Something else.")),
        ]
        assert [hit.retrieval_score is None for hit in hits] == [False, True]
        assert [(hit.id, hit.score) for hit in tools.retrieve("", k=1)] == [("zz", 0.0)]


def test_repetitions_go_before_and_labels_after_the_reranker(encoder, shortest):
    with DemonstrationRetriever(encoder, reranker=shortest, rerank_depth=3) as demonstrations:
        demonstrations.add(
            [
                Demonstration("a blue cat", "yes", id="1"),
                Demonstration("a  blue cat", "yes", id="2"),
                Demonstration("a blue cat on a tree", "no", id="3"),
                Demonstration("blue cat", "yes", id="4"),
            ]
        )
        assert [hit.id for hit in demonstrations.retrieve("a blue cat", k=3)] == ["4", "1", "3"]
        assert len(shortest.asked) == 3
        by_label = demonstrations.retrieve("a blue cat", k=2, diversity="label")
        assert [hit.item.output for hit in by_label] == ["yes", "no"]
        with pytest.raises(ConfigError, match="diversity='mmr' compares scores with cosines; expected a retriever"):
            demonstrations.retrieve("a blue cat", diversity="mmr")


def test_a_dialogue_is_shortened_to_what_the_reranker_reads(encoder, tmp_path):
    reranker = Reranker.load(write_cross_encoder(tmp_path / "reranker"))
    dialogue = [Turn("user", "dog " * 30), Turn("assistant", "cat " * 30), Turn("user", "and in paris")]
    with ConversationRetriever(encoder, reranker=reranker) as conversation:
        conversation.add(["paris is in france", "a dog"])
        assert conversation.query_text(dialogue).strip().endswith("and in paris")
        assert len(conversation.retrieve(dialogue, k=2)) == 2
        with pytest.raises(InputError, match="so that a text has room"):
            conversation.retrieve("dog " * 60)


@pytest.mark.parametrize("wrong", ["folder", Reranker, object()])
def test_what_is_no_reranker_is_refused_before_a_store_is_opened(wrong, encoder, tmp_path):
    for case in CASES:
        with pytest.raises(ConfigError, match=r"reranker: got .*; expected a Reranker, such as Reranker.load"):
            case.open(encoder, reranker=wrong, path=tmp_path / "store")
    assert not (tmp_path / "store").exists()
    with pytest.raises(ConfigError, match="rerank_depth: got 0; expected an int from 1 to 10000"):
        KnowledgeRetriever(encoder, rerank_depth=0)


def test_scores_that_are_no_numbers_are_refused(encoder):
    class Broken:
        def score_pairs(self, pairs):
            return [float("nan")] * len(pairs)

    with KnowledgeRetriever(encoder, reranker=Broken()) as knowledge:
        knowledge.add(["paris"])
        with pytest.raises(InputError, match="Broken gave a score that is not finite"):
            knowledge.retrieve("paris")
