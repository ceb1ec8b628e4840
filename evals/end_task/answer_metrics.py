"""How a generated answer is compared with the right ones. All are between 0 and 1."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORD = re.compile(r"\w+")


def normalise(text: str, *, drop_articles: bool) -> str:
    """Lower case, without ASCII punctuation, single spaces; SQuAD's normalisation also drops a, an and the."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join((_ARTICLES.sub(" ", text) if drop_articles else text).split())


def exact_match(answer: str, right: Sequence[str], *, drop_articles: bool = True) -> float:
    """1 if the normalised answer is a right one (SQuAD, Rajpurkar et al. 2016); articles stay for NQ's variant."""
    made = normalise(answer, drop_articles=drop_articles)
    return float(any(made == normalise(each, drop_articles=drop_articles) for each in right))


def substring_match(answer: str, right: Sequence[str]) -> float:
    """1 if a right answer, as it is, in lower case or capitalised, occurs in the answer as it is.

    PopQA's own measure (Mallen et al. 2023), which papers call exact match: "PARIS" does not hold "Paris".
    """
    return float(any(form in answer for each in right if each for form in (each, each.lower(), each.capitalize())))


def caseless_match(answer: str, right: Sequence[str]) -> float:
    """1 if a right answer occurs in the answer, whatever the case on either side."""
    return float(any(each.casefold() in answer.casefold() for each in right if each))


def token_f1(answer: str, right: Sequence[str]) -> float:
    """F1 over the bags of normalised words, of the best right answer (SQuAD)."""
    return max((_overlap(_squad_words(answer), _squad_words(each)) for each in right), default=0.0)


def rouge_l(answer: str, right: str) -> float:
    """F1 of the longest common subsequence of words: lower-cased runs of letters and digits, the text as one sentence.

    This is ROUGE-L of Google's `rouge_score` without stemming. The `rouge` package, which LLM-Embedder used, splits
    at full stops, takes the union over sentences and counts every word once, so its figures differ.
    """
    made, wanted = _WORD.findall(answer.lower()), _WORD.findall(right.lower())
    common = longest_common_subsequence(made, wanted)
    return 2 * common / (len(made) + len(wanted)) if common else 0.0


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Its length: as many words as occur in both in the same order."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = row
        row = [0]
        for column, other in enumerate(second):
            row.append(before[column] + 1 if word == other else max(before[column + 1], row[column]))
    return row[-1]


def binary_f1(chosen: Sequence[int], right: Sequence[int], *, positive: int = 1) -> float:
    """F1 of one option over a whole task, as MultiRC is measured."""
    hits = sum(made == positive == wanted for made, wanted in zip(chosen, right, strict=True))
    total = sum(made == positive for made in chosen) + sum(wanted == positive for wanted in right)
    return 2 * hits / total if total else 0.0


def _squad_words(text: str) -> list[str]:
    return normalise(text, drop_articles=True).split()


def _overlap(made: list[str], wanted: list[str]) -> float:
    if not made or not wanted:
        return float(made == wanted)
    common = sum((Counter(made) & Counter(wanted)).values())
    return 2 * common / (len(made) + len(wanted))
