"""Small evaluation sets, written by hand, and an encoder of words to answer them."""

from evals.records import EvaluationSet, Query
from rag_embedder.types import Document, Turn
from tests.retriever_cases import WordEncoder


class CountingEncoder(WordEncoder):
    """Notes how many texts it has encoded in each role."""

    scenarios = ("qa", "convsearch", "tool", "chat")

    def __init__(self, salt=""):
        super().__init__(salt)
        self.queries = []
        self.documents = []

    def encode_queries(self, texts, scenario="qa"):
        self.queries += texts
        return super().encode_queries(texts, scenario)

    def encode_documents(self, texts, scenario="qa", *, show_progress=None):
        self.documents += texts
        return super().encode_documents(texts, scenario)


def weather_set():
    """Four documents, three queries; the last query has two relevant documents, one more so."""
    return EvaluationSet(
        name="knowledge/weather",
        split="test",
        scenario="qa",
        suite="knowledge",
        documents=[
            Document("rain falls in oslo", id="d1", title="Oslo"),
            Document("bread is baked from flour", id="d2"),
            Document("snow falls in bergen", id="d3"),
            Document("a cat sleeps", id="d4"),
        ],
        queries=[Query(id="q1", text="rain oslo"), Query(id="q2", text="flour"), Query(id="q3", text="snow falls")],
        qrels={"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 2, "d1": 1}},
        is_zero_shot=True,
        checksum="c0ffee",
    )


def dialogue_set():
    """A question that only its history makes clear."""
    return EvaluationSet(
        name="conversational/cities",
        split="dev",
        scenario="convsearch",
        suite="convsearch",
        documents=[Document("oslo tram", id="a"), Document("bergen tram", id="b")],
        queries=[Query(id="q", text="and its tram", history=[Turn("user", "bergen"), Turn("assistant", "a town")])],
        qrels={"q": {"b": 1}},
    )


def memory_set():
    """Two users' memories with the same words: each query belongs to one."""
    return EvaluationSet(
        name="memory/two",
        split="test",
        scenario="chat",
        suite="memory",
        documents=[
            Document("we spoke of rain", id="ann#0", metadata={"within": "ann"}),
            Document("we spoke of bread", id="ann#1", metadata={"within": "ann"}),
            Document("we spoke of rain", id="bob#0", metadata={"within": "bob"}),
        ],
        queries=[Query(id="q1", text="rain", within="ann"), Query(id="q2", text="rain", within="bob")],
        qrels={"q1": {"ann#0": 1}, "q2": {"bob#0": 1}},
    )
