"""Systems rank documents; end tasks get texts and positions."""

from evals.end_task import END_TASKS
from evals.end_task.retrieval import judged_texts, memory_set, retrieve_positions, retrieve_texts, texts_by_group
from evals.records import EvaluationSet, Query
from evals.systems.bm25 import BM25System
from evals.systems.chance import RandomSystem
from rag_embedder.types import Document

MEMORIES = {
    "amy": ["we saw a red river", "the dog barked", "the river was cold"] + ["nothing of note"] * 9 + ["river"],
    "bob": ["my river boat", "a green car"],
}
QUERIES = [
    Query(id="1", text="green car", within="bob"),
    Query(id="2", text="cold river", within="amy"),
    Query(id="3", text="unheard words", within="amy"),
]


def memories():
    return memory_set(MEMORIES, QUERIES, name="toy", scenario="chat")


def test_positions_are_those_of_the_querys_own_group():
    assert retrieve_positions(BM25System(), memories(), 2) == {"1": [1], "2": [2, 12], "3": []}


def test_random_memories_are_of_the_group_too():
    found = retrieve_positions(RandomSystem(), memories(), 2)
    assert sorted(found["1"]) == [0, 1]
    assert all(0 <= position < 13 for position in found["2"])
    assert len(set(found["2"])) == 2


def test_positions_count_a_groups_documents_whatever_stands_between_them():
    documents = [
        Document(text, id=id_, metadata={"within": group})
        for id_, group, text in (("z", "a", "red"), ("y", "b", "red"), ("x", "a", "blue"), ("w", "b", "blue"))
    ]
    mixed = EvaluationSet(
        name="m",
        split="test",
        scenario="chat",
        suite="memory",
        documents=documents,
        queries=[Query(id="q", text="blue", within="b")],
        qrels={},
    )
    assert retrieve_positions(BM25System(), mixed, 5) == {"q": [1]}
    assert texts_by_group(mixed) == {"a": ["red", "blue"], "b": ["red", "blue"]}


def test_texts_are_what_the_systems_themselves_read():
    documents = (
        Document("capital of France", id="p", title="Paris"),
        Document("capital of Norway", id="o"),
        Document("a river", id="r"),
    )
    evaluation_set = EvaluationSet(
        name="k",
        split="test",
        scenario="qa",
        suite="knowledge",
        documents=documents,
        queries=(Query(id="q", text="France"), Query(id="s", text="boat"), Query(id="t", text="sea")),
        qrels={"s": {"o": 1, "r": 2, "p": 0}},
    )
    assert retrieve_texts(BM25System(), evaluation_set, 3) == {"q": ["Paris capital of France"], "s": [], "t": []}
    assert judged_texts(evaluation_set, 3) == {"q": [], "s": ["a river", "capital of Norway"], "t": []}
    assert judged_texts(evaluation_set, 1)["s"] == ["a river"]


def test_equal_scores_are_ordered_by_position():
    ids = [document.id for document in memory_set({"g": ["x"] * 12}, [], name="toy", scenario="chat").documents]
    assert ids == sorted(ids)


def test_every_end_task_is_registered_and_can_be_imported():
    assert list(END_TASKS) == [
        "multiple-choice",
        "open-answers",
        "dialogue-memory",
        "long-text-memory",
        "demonstrations",
    ]
    assert all(callable(END_TASKS[name]) for name in END_TASKS)
