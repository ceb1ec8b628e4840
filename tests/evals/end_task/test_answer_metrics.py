"""Metrics of written answers, against cases worked out by hand."""

import pytest

from evals.end_task.answer_metrics import (
    binary_f1,
    caseless_match,
    exact_match,
    longest_common_subsequence,
    normalise,
    rouge_l,
    substring_match,
    token_f1,
)


def test_normalisation_drops_case_punctuation_and_perhaps_articles():
    assert normalise(" The  Cat's, a  hat! ", drop_articles=True) == "cats hat"
    assert normalise(" The  Cat's, a  hat! ", drop_articles=False) == "the cats a hat"
    assert normalise("another theatre", drop_articles=True) == "another theatre"


def test_exact_match_is_with_any_right_answer():
    assert exact_match("The Beatles.", ["Queen", "beatles"]) == 1.0
    assert exact_match("The Beatles.", ["Queen", "beatles"], drop_articles=False) == 0.0
    assert exact_match("beatles band", ["beatles"]) == 0.0


@pytest.mark.parametrize(
    ("answer", "right", "published", "caseless"),
    [
        ("It is Paris, France", ["Paris"], 1.0, 1.0),
        ("it is paris", ["Paris"], 1.0, 1.0),  # the right answer is lowered
        ("it is Paris", ["paris"], 1.0, 1.0),  # or capitalised
        ("IT IS PARIS", ["Paris"], 0.0, 1.0),  # but the written one is not
        ("United States", ["united states"], 0.0, 1.0),  # capitalised is "United states"
        ("London", ["Paris", "Rome"], 0.0, 0.0),
        ("London", ["Paris", "London"], 1.0, 1.0),
        ("anything", [""], 0.0, 0.0),  # an empty answer is in every text
    ],
)
def test_substring_match_as_published_and_whatever_the_case(answer, right, published, caseless):
    assert (substring_match(answer, right), caseless_match(answer, right)) == (published, caseless)


def test_token_f1_is_over_bags_of_words():
    # made: red, red, dog; wanted: red, cat, dog; common: red, dog; 2 * 2 / (3 + 3)
    assert token_f1("the red red dog", ["a red cat dog"]) == pytest.approx(2 / 3)
    assert token_f1("dog", ["cat", "dog"]) == 1.0
    assert token_f1("the", ["a"]) == 1.0
    assert token_f1("dog", ["the"]) == 0.0


def test_the_longest_common_subsequence():
    assert longest_common_subsequence("ABCBDAB", "BDCABA") == 4  # BCBA
    assert longest_common_subsequence("", "abc") == 0
    assert longest_common_subsequence("abc", "cba") == 1


def test_rouge_l_is_f1_of_the_common_subsequence():
    # 4 words each, 3 in common: police ... the gunman
    assert rouge_l("police kill the gunman", "Police killed the gunman.") == pytest.approx(3 / 4)
    # common: the cat mat (3) of 3 and 6 words
    assert rouge_l("the cat mat", "the cat sat on the mat") == pytest.approx(2 * 3 / 9)
    assert rouge_l("mat cat the", "the cat sat on the mat") == pytest.approx(2 * 2 / 9)  # cat ... the
    assert rouge_l("", "the cat") == 0.0
    assert rouge_l("dog", "the cat") == 0.0


def test_binary_f1_is_of_the_positive_option():
    # chosen positive: 0, 2, 3; right positive: 0, 1, 3: two hits of three and three
    assert binary_f1([1, 0, 1, 1], [1, 1, 0, 1]) == pytest.approx(2 / 3)
    assert binary_f1([0, 0], [0, 0]) == 0.0
    assert binary_f1([0, 1], [1, 1], positive=0) == 0.0
