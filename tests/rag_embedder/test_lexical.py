"""BM25 against the formula, written out once more in plain Python."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rag_embedder.errors import InputError
from rag_embedder.lexical import BM25Index

TEXTS = ["red apple pie", "green apple", "blue sky over blue sea", "red red wine"]


def numbers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def bm25(query: list[str], documents: list[list[str]], document: int) -> float:
    """Lucene's BM25: idf · tf / (tf + k1 (1 - b + b |d| / avgdl)) with k1 = 1.2 and b = 0.75."""
    average = sum(len(words) for words in documents) / len(documents)
    words, score = documents[document], 0.0
    for word in query:
        frequency = words.count(word)
        holding = sum(word in other for other in documents)
        idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
        score += idf * frequency / (frequency + 1.2 * (1 - 0.75 + 0.75 * len(words) / average))
    return score


def test_scores_equal_the_formula() -> None:
    # none of these words is a stop word or changed by the English stemmer, save "apple", which changes no count
    documents = [text.replace(" over", "").split() for text in TEXTS]
    index = BM25Index(numbers(0, 1, 2, 3), [" ".join(words) for words in documents])
    (found,) = index.search(["red apple"], k=4)
    expected = {i: bm25(["red", "apple"], documents, i) for i in (0, 1, 3)}
    assert found.numbers.tolist() == sorted(expected, key=lambda i: -expected[i])
    np.testing.assert_allclose(found.scores, [expected[i] for i in found.numbers.tolist()], rtol=1e-5)
    assert found.scores.dtype == np.float32
    assert found.numbers.dtype == np.int64


def test_one_value_worked_by_hand() -> None:
    # N = 2, df = 1: idf = ln(1 + 1.5 / 1.5) = ln 2. tf = 1, |d| = avgdl: 1 / (1 + 1.2) -> 0.6931472 / 2.2
    (found,) = BM25Index(numbers(5, 9), ["wine", "sky"]).search(["sky"], k=1)
    assert found.numbers.tolist() == [9]
    assert found.scores[0] == pytest.approx(0.3150669, abs=1e-6)


def test_documents_without_a_common_word_are_not_returned() -> None:
    (found,) = BM25Index(numbers(10, 11, 12, 13), TEXTS).search(["sky"], k=100)
    assert found.numbers.tolist() == [12]


def test_ties_are_ordered_by_number_also_at_the_cut() -> None:
    index = BM25Index(numbers(*range(50)), ["same words here"] * 50)
    (found,) = index.search(["words"], k=3)
    assert found.numbers.tolist() == [0, 1, 2]


def test_the_cut_keeps_the_best_not_the_first() -> None:
    texts = ["apple and many other fruits from the old garden"] * 5 + ["apple"]
    (found,) = BM25Index(numbers(*range(6)), texts).search(["apple"], k=2)
    assert found.numbers.tolist() == [5, 0]


def test_allowed_filters_before_ranking_and_keeps_the_scores() -> None:
    index = BM25Index(numbers(10, 11, 12, 13), TEXTS)
    (everything,) = index.search(["red apple"], k=4)
    (some,) = index.search(["red apple"], k=1, allowed=numbers(11, 12, 99))
    assert some.numbers.tolist() == [11]
    assert some.scores[0] == everything.scores[everything.numbers.tolist().index(11)]
    (none,) = index.search(["red apple"], k=4, allowed=numbers())
    assert none.numbers.tolist() == []


@pytest.mark.parametrize("query", ["", "   ", "the of and", "?!", "unseen"])
def test_a_query_without_known_words_finds_nothing(query: str) -> None:
    (found,) = BM25Index(numbers(0, 1, 2, 3), TEXTS).search([query], k=3)
    assert found.numbers.shape == (0,)
    assert found.scores.shape == (0,)


@pytest.mark.parametrize("texts", [[], [""], ["the", "and of"], ["...", "—"]])
def test_a_corpus_without_words_finds_nothing(texts: list[str]) -> None:
    index = BM25Index(numbers(*range(len(texts))), texts)
    assert [found.numbers.tolist() for found in index.search(["apple", "the"], k=3)] == [[], []]


def test_each_query_has_its_own_result_in_order() -> None:
    results = BM25Index(numbers(0, 1, 2, 3), TEXTS).search(["sea", "", "wine"], k=1)
    assert [found.numbers.tolist() for found in results] == [[2], [], [3]]
    assert BM25Index(numbers(0, 1, 2, 3), TEXTS).search([], k=1) == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("zürich", "Flüge nach ZÜRICH"),
        ("STRASSE", "die lange Straße"),
        ("Москва", "поездка в москва летом"),
        ("天気", "今日の天気は晴れ"),
        ("हिन्दी", "यह हिन्दी में है"),
        ("cafe\u0301", "ein kleines café"),
        ("weather", "get_weather"),
        ("42", "answer 42"),
    ],
)
def test_words_of_any_script_are_found_in_any_case(query: str, text: str) -> None:
    (found,) = BM25Index(numbers(1, 2), ["something else", text]).search([query], k=2)
    assert found.numbers.tolist() == [2]


def test_a_vowel_sign_does_not_split_a_hindi_word() -> None:
    (found,) = BM25Index(numbers(1), ["हिन्दी"]).search(["ह"], k=1)
    assert found.numbers.tolist() == []


def test_inflected_words_match_when_the_stemmer_is_installed() -> None:
    pytest.importorskip("Stemmer")
    (found,) = BM25Index(numbers(0, 1), ["she was running", "a walk"]).search(["runs"], k=2)
    assert found.numbers.tolist() == [0]


def test_words_match_exactly_without_the_stemmer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "Stemmer", None)
    index = BM25Index(numbers(0, 1), ["she was running", "a walk"])
    assert [found.numbers.tolist() for found in index.search(["runs", "running"], k=2)] == [[], [0]]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    BM25Index(numbers(0, 1, 2, 3), TEXTS).search(["red"], k=2)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_concurrent_searches_agree_with_one_by_one() -> None:
    index = BM25Index(numbers(*range(200)), [f"word{i % 17} shared{i % 5} running" for i in range(200)])
    queries = [f"word{i % 17} shared{i % 5} runs" for i in range(200)]
    alone = [found.numbers.tolist() for found in index.search(queries, k=5)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: index.search([query], k=5)[0].numbers.tolist(), queries))
    assert together == alone


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one number per text"):
        BM25Index(numbers(0), ["a b", "c"])
    with pytest.raises(InputError, match="ascend"):
        BM25Index(numbers(4, 4), ["one", "two"])
    with pytest.raises(InputError, match="k is 0"):
        BM25Index(numbers(0), ["one"]).search(["one"], k=0)


def test_the_size_counts_postings_and_words() -> None:
    # Three postings of (float32 score, int32 document), and for two words three int64 places where they start and end.
    index = BM25Index(np.array([0, 1]), ["snow rain", "rain"])
    assert index.num_bytes == 3 * (4 + 4) + 3 * 8 + len("snow") + len("rain")
    assert BM25Index(np.array([], dtype=np.int64), []).num_bytes == 0
