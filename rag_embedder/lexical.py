"""BM25 over numbered texts: the lexical ranking that can be fused with the one by vectors.

score(q, d) = sum over the words w of q of  idf(w) · tf / (tf + k1 · (1 - b + b · |d| / avgdl))
idf(w) = ln(1 + (N - df + 0.5) / (df + 0.5))

This is the variant of Lucene 8 and later (`method="lucene"` of bm25s). A word that is repeated in the query counts
each time. Words are runs of letters, digits and combining marks in any script, case-folded; an underscore separates
words, so `get_weather` is found by "weather"; every Chinese character or Japanese kana is a word of its own, because
those scripts write no spaces. English stop words are dropped, and words are stemmed where PyStemmer is installed.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rag_embedder.errors import InputError
from rag_embedder.protocols import Neighbours
from rag_embedder.types import Numbers, Vectors

K1 = 1.2
B = 0.75

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# `\w` knows no combining marks: without these ranges Hindi, Thai and vocalised Hebrew or Arabic words fall apart
_MARKS = "\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e"
_WORD = re.compile(rf"[{_CJK}]|(?:[^\W_{_CJK}]|[{_MARKS}])+")


class BM25Index:
    """Ranks a fixed set of texts by BM25; build a new one when the texts change. Searching is thread-safe."""

    def __init__(self, numbers: Numbers, texts: Sequence[str]) -> None:
        """Index `texts`, known by `numbers` (n,), which are ascending.

        Raises:
            InputError: if there are not as many numbers as texts, or the numbers do not ascend.
        """
        self._numbers = np.asarray(numbers, dtype=np.int64)
        if self._numbers.shape != (len(texts),):
            raise InputError(
                f"numbers has the shape {self._numbers.shape} for {len(texts)} texts; expected one number per text."
            )
        if np.any(np.diff(self._numbers) <= 0):
            raise InputError("numbers do not ascend; expected each to be larger than the one before: sort them first.")
        words = list(_words(texts))
        # bm25s cannot index a corpus without a single word
        self._bm25 = _fitted(words) if any(words) else None

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def num_bytes(self) -> int:
        """Bytes of the postings and of the vocabulary's words."""
        if self._bm25 is None:
            return 0
        postings = sum(array.nbytes for array in self._bm25.scores.values() if isinstance(array, np.ndarray))
        return postings + sum(len(word.encode()) for word in self._bm25.vocab_dict)

    def search(self, queries: Sequence[str], k: int, *, allowed: Numbers | None = None) -> list[Neighbours]:
        """The `k` best texts for each query, fewer if fewer share a word with it; ties by number.

        `allowed` restricts the rows before ranking; word statistics stay those of all texts.

        Raises:
            InputError: if `k` is below 1.
        """
        if k < 1:
            raise InputError(f"k is {k}; expected 1 or more: ask for at least one result.")
        mask = None if allowed is None else np.isin(self._numbers, allowed)
        return [self._search_one(words, k, mask) for words in _words(queries)]

    def _search_one(self, words: list[str], k: int, mask: np.ndarray | None) -> Neighbours:
        if self._bm25 is None:
            return _nothing()
        token_ids = self._bm25.get_tokens_ids(words)
        if not token_ids:
            return _nothing()
        scores: Vectors = self._bm25.get_scores_from_ids(token_ids)
        found = scores > 0 if mask is None else (scores > 0) & mask
        return _best(self._numbers[found], scores[found], k)


def _fitted(words: list[list[str]]) -> Any:  # noqa: ANN401  (a bm25s.BM25; imported only when needed)
    import bm25s

    index = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
    index.index(words, create_empty_token=False, show_progress=False)
    return index


def _best(numbers: Numbers, scores: Vectors, k: int) -> Neighbours:
    """The `k` highest scores, best first, ties by number; `numbers` (n,) ascending, `scores` (n,)."""
    if len(scores) > k:
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        numbers, scores = numbers[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:k]
    return Neighbours(numbers[order], scores[order])


def _nothing() -> Neighbours:
    return Neighbours(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


def _words(texts: Sequence[str]) -> Iterator[list[str]]:
    """The searchable words of each text, in order, repetitions kept."""
    from bm25s.stopwords import STOPWORDS_EN

    stop_words = frozenset(STOPWORDS_EN)
    stem = _stemmer()
    for text in texts:
        folded = unicodedata.normalize("NFKC", text).casefold()
        yield stem([word for word in _WORD.findall(folded) if word not in stop_words])


def _stemmer() -> Callable[[list[str]], list[str]]:
    """A fresh stemmer for every call: PyStemmer's objects must not be shared between threads."""
    try:
        from Stemmer import Stemmer
    except ImportError:
        return list
    return Stemmer("english").stemWords
