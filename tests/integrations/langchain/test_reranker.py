"""RagReranker and the neutral `rerank` below it: order, scores, untouched inputs, a free event loop."""

import copy
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ValidationError

from integrations.conformance.loop_ticks import count_ticks
from integrations.langchain import RagReranker, RagRetriever
from integrations.reranking import arerank, rerank
from rag_embedder import Reranker, watch_encodings
from rag_embedder.errors import ConfigError, InputError, InvalidTextError
from tests.retriever_cases import TEXTS, Watched, WordEncoder
from tests.tiny_rerankers import write_cross_encoder


class Lengths(BaseCrossEncoder):
    """Prefers long texts; notes what it was asked and can be slow."""

    def __init__(self, seconds=0.0):
        self.asked, self.seconds = [], seconds

    def score(self, text_pairs):
        self.asked.append(list(text_pairs))
        time.sleep(self.seconds)
        return [float(len(text)) for _, text in text_pairs]


class Predicting:
    """As sentence-transformers' CrossEncoder: `predict`, arrays, sometimes a column."""

    def __init__(self, column=False):
        self.column = column

    def predict(self, pairs):
        scores = np.array([len(text) for _, text in pairs], np.float32)
        return scores[:, None] if self.column else scores


def documents():
    return [Document(text, id=id_, metadata={"score": 0.5, "tags": [id_]}) for id_, text in TEXTS.items()]


def ids(found):
    return [document.id for document in found]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


# --- the neutral part


def test_an_encoder_scores_by_the_cosine_of_query_and_document(embedder):
    texts = list(TEXTS.values())
    with watch_encodings() as seen:
        ranked = rerank("the capital of france", texts, scorer=embedder, scenario="tool")
    assert [(each.role, each.scenario) for each in seen] == [("query", "tool"), ("document", "tool")]
    cosines = embedder.encode_documents(texts, "tool") @ embedder.encode_queries(["the capital of france"], "tool")[0]
    assert [position for position, _ in ranked] == np.argsort(-cosines).tolist()
    assert np.allclose([score for _, score in ranked], np.sort(cosines)[::-1], atol=1e-5)
    assert ranked[0][0] == list(TEXTS).index("capital")


@pytest.mark.parametrize("scorer", [Lengths(), Predicting(), Predicting(column=True)])
def test_other_scorers_are_asked_with_pairs(scorer):
    assert rerank("q", ["aa", "a", "aaaa"], scorer=scorer) == [(2, 4.0), (0, 2.0), (1, 1.0)]
    assert rerank("q", ["aa", "a", "aaaa"], scorer=scorer, k=1) == [(2, 4.0)]
    assert rerank("q", ["aa", "a"], scorer=scorer, k=100) == [(0, 2.0), (1, 1.0)]


def test_equal_scores_keep_the_order_given(watched):
    assert rerank("q", ["bb", "aa", "cccc", "dd"], scorer=Lengths()) == [(2, 4.0), (0, 2.0), (1, 2.0), (3, 2.0)]
    assert [position for position, _ in rerank("cat", ["rain", "cat", "rain", "cat"], scorer=watched)] == [1, 3, 0, 2]


def test_nothing_to_rank_or_to_rank_for_asks_no_scorer(watched):
    scorer = Lengths()
    for query, texts in (("q", []), ("", ["a"]), ("\n ", ["a"])):
        for each in (scorer, watched):
            assert rerank(query, texts, scorer=each) == []
    assert scorer.asked == watched.queries == watched.documents == []


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0], r"scores of shape \(1,\) for 2 texts"),
        ([1.0, 2.0, 3.0], r"scores of shape \(3,\) for 2 texts"),
        ([[1.0, 2.0], [3.0, 4.0]], r"shape \(2, 2\) for 2 texts.*several labels"),
        ([1.0, float("nan")], r"not finite for texts\[1\]"),
        ([float("inf"), 1.0], r"not finite for texts\[0\]"),
        (None, r"scores of shape \(\) for 2 texts"),
        (["high", "low"], "gave list; expected one number"),
    ],
)
def test_scores_that_are_not_one_finite_number_each_are_refused(scores, message):
    class Broken:
        def score(self, pairs):
            return scores

    with pytest.raises(InputError, match=message) as caught:
        rerank("secret", ["secret a", "secret b"], scorer=Broken())
    assert "Broken" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_vectors_of_another_number_or_with_nan_are_refused(watched):
    watched.spoil = lambda vectors: vectors[:-1]
    with pytest.raises(InputError, match=r"shape \(1,\) for 2 texts"):
        rerank("cat", ["a", "b"], scorer=watched)
    watched.spoil = lambda vectors: vectors * np.nan
    with pytest.raises(InputError, match="not finite"):
        rerank("cat", ["a", "b"], scorer=watched)


@pytest.mark.parametrize("wrong", [None, "model", object(), WordEncoder, lambda pairs: [1.0]])
def test_what_cannot_score_is_refused(wrong):
    with pytest.raises(
        ConfigError, match=r"scorer: got .*; expected an Embedder, a Reranker, or an object whose score"
    ):
        rerank("q", ["a"], scorer=wrong)


def test_bad_texts_and_k_are_refused(watched):
    with pytest.raises(InvalidTextError, match=r"texts\[1\]: got int"):
        rerank("q", ["a", 5], scorer=watched)
    with pytest.raises(InvalidTextError, match="query: got list"):
        rerank(["q"], ["a"], scorer=watched)
    for k in (0, True, 1.5, "3"):
        with pytest.raises(InputError, match="k: got"):
            rerank("q", ["a"], scorer=watched, k=k)
    with pytest.raises(ConfigError, match="unknown scenario 'tol'"):
        rerank("q", ["a"], scorer=_real(), scenario="tol")


def _real():
    class Known(WordEncoder):
        def fingerprint_of(self, scenario):
            raise ConfigError(f"unknown scenario {scenario!r}")

    return Known()


async def test_the_loop_runs_on_while_scores_are_made(watched):
    watched.seconds = 0.15  # twice: query and texts
    ranked, ticks = await count_ticks(arerank("cat", ["rain", "cat"], scorer=watched))
    assert [position for position, _ in ranked] == [1, 0]
    assert ticks >= 8


# --- LangChain's compressor


async def test_documents_come_back_best_first_with_both_scores(watched):
    given = documents()
    before = copy.deepcopy(given)
    reranker = RagReranker(embedder=watched)
    assert isinstance(reranker, BaseDocumentCompressor)
    for found in (
        reranker.compress_documents(given, "the capital of france"),
        await reranker.acompress_documents(given, "the capital of france"),
    ):
        assert found[0].id == "capital"
        assert sorted(ids(found)) == sorted(TEXTS)
        scores = [document.metadata["rerank_score"] for document in found]
        assert scores == sorted(scores, reverse=True)
        assert {document.metadata["score"] for document in found} == {0.5}
        assert found[0].metadata["tags"] == ["capital"]
    assert given == before


def test_a_plain_reranker_loses_scores_and_marks_the_input_and_ours_does_not(watched):
    class Plain(BaseDocumentCompressor):
        """The obvious one: sorts by the scorer and writes the score into what it was given, or nowhere."""

        scorer: object

        def compress_documents(self, documents, query, callbacks=None):
            for document, score in zip(
                documents, self.scorer.score([(query, d.page_content) for d in documents]), strict=True
            ):
                document.metadata["score"] = score
            return sorted(documents, key=lambda document: -document.metadata["score"])

    given = documents()
    Plain(scorer=Lengths()).compress_documents(given, "q")
    assert given != documents()
    assert given[0].metadata["score"] != 0.5
    given = documents()
    found = RagReranker(scorer=Lengths()).compress_documents(given, "q")
    assert given == documents()
    assert found[0].metadata == {"score": 0.5, "tags": ["cat"], "rerank_score": 33.0}


def test_fewer_stay_on_request(watched):
    for options in ({"k": 2}, {"top_n": 2}):
        assert len(RagReranker(embedder=watched, **options).compress_documents(documents(), "cat")) == 2
    long = RagReranker(scorer=Lengths(), score_threshold=31.0, score_key="length")
    lengths = [document.metadata["length"] for document in long.compress_documents(documents(), "q")]
    assert lengths == sorted((float(len(text)) for text in TEXTS.values() if len(text) >= 31), reverse=True)
    assert 0 < len(lengths) < len(TEXTS)


async def test_no_documents_or_no_query_give_none(watched):
    reranker = RagReranker(embedder=watched)
    assert reranker.compress_documents([], "cat") == await reranker.acompress_documents([], "cat") == []
    assert reranker.compress_documents(documents(), "") == await reranker.acompress_documents(documents(), " ") == []
    assert watched.queries == watched.documents == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "embedder, scorer: got neither; expected one of them"),
        ({"embedder": WordEncoder(), "scorer": Lengths()}, "embedder, scorer: got both"),
        ({"embedder": Lengths()}, "embedder: got Lengths; expected an Embedder"),
        ({"scorer": object()}, "scorer: got object; expected"),
        ({"scorer": Lengths(), "k": 0}, r"\nk\n.*greater than or equal to 1"),
        ({"scorer": Lengths(), "k": 1, "top_n": 2}, "top_n"),
        ({"scorer": Lengths(), "top_k": 2}, "top_k"),
        ({"embedder": _real(), "scenario": "tol"}, "unknown scenario 'tol'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once(options, message):
    with pytest.raises(ValidationError, match=message):
        RagReranker(**options)


async def test_what_is_no_document_is_refused(watched):
    with pytest.raises(InvalidTextError, match=r"documents\[1\]: got str; expected a LangChain Document"):
        RagReranker(embedder=watched).compress_documents([*documents()[:1], "text"], "cat")
    with pytest.raises(InvalidTextError, match=r"query: got dict"):
        await RagReranker(embedder=watched).acompress_documents(documents(), {"question": "cat"})


async def test_after_a_retriever_both_steps_are_one_runnable(watched):
    retriever = RagRetriever.from_documents(documents(), watched, k=6)
    both = RagReranker(scorer=Lengths(), k=2).after(retriever)
    found = both.invoke("snow and rain")
    assert ids(found)[0] == "cat"  # the longest text
    assert found == await both.ainvoke("snow and rain")
    assert both.batch(["snow and rain", ""]) == [found, []]
    assert set(found[0].metadata) == {"tags", "score", "rerank_score"}
    assert (both | len).invoke("cat") == 2
    retriever.retriever.close()


async def test_the_loop_runs_on_while_documents_are_reranked(watched):
    reranker = RagReranker(scorer=Lengths(seconds=0.3))
    found, ticks = await count_ticks(reranker.acompress_documents(documents(), "q"))
    assert found[0].id == "cat"
    assert ticks >= 8

    class Blocking(BaseDocumentCompressor):
        async def acompress_documents(self, documents, query, callbacks=None):
            return self.compress_documents(documents, query)

        def compress_documents(self, documents, query, callbacks=None):
            return reranker.compress_documents(documents, query)

    _, ticks = await count_ticks(Blocking().acompress_documents(documents(), "q"))
    assert ticks <= 1


def test_sixteen_threads_get_the_order_of_one(embedder):
    reranker = RagReranker(embedder=embedder)
    queries = [f"{text} {n}" for n in range(4) for text in TEXTS.values()]
    expected = [ids(reranker.compress_documents(documents(), query)) for query in queries]
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda query: ids(reranker.compress_documents(documents(), query)), queries)
        assert [each[0] for each in found] == [each[0] for each in expected] == list(TEXTS) * 4


# --- our own reranker


def test_a_reranker_orders_documents_as_its_scores_do(tmp_path):
    reranker = Reranker.load(write_cross_encoder(tmp_path / "reranker"))
    query = "weather in oslo"
    scores = dict(zip(TEXTS, reranker.score(query, list(TEXTS.values())).tolist(), strict=True))
    found = RagReranker(scorer=reranker, k=3).compress_documents(documents(), query)
    assert ids(found) == sorted(scores, key=lambda id_: -scores[id_])[:3]
    assert [document.metadata["rerank_score"] for document in found] == pytest.approx(
        [scores[id_] for id_ in ids(found)]
    )
