import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_embedder.errors import InvalidTextError
from rag_embedder.texts import check_text, check_texts


class Series:
    """Iterates as a column of a data frame does: over values, whatever the labels are."""

    def __init__(self, values):
        self._values = values

    def __iter__(self):
        return iter(self._values)

    def __getitem__(self, label):
        raise KeyError(label)


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "b"],
        ("a", "b"),
        (text for text in "ab"),
        {1: "a", 2: "b"}.values(),
        np.array(["a", "b"]),
        np.array(["a", "b"], dtype=object),
        Series(["a", "b"]),
    ],
)
def test_any_ordered_iterable_of_texts_becomes_a_list_of_plain_str(texts):
    checked = check_texts(texts)
    assert checked == ["a", "b"]
    assert {type(text) for text in checked} == {str}


@pytest.mark.parametrize("texts", ["abc", b"abc", ""])
def test_a_bare_string_is_refused_with_the_remedy(texts):
    with pytest.raises(InvalidTextError, match=r"texts: got a bare (str|bytes); expected a list of str.*\[text\]"):
        check_texts(texts)


@pytest.mark.parametrize("texts", [{"a": 1}, {"a", "b"}, frozenset("ab")])
def test_a_mapping_or_set_is_refused_because_rows_would_have_no_order(texts):
    with pytest.raises(InvalidTextError, match=r"texts: got (dict|set|frozenset), whose order"):
        check_texts(texts)


@pytest.mark.parametrize("texts", [None, 3, np.float32(1.0), np.array("a")])
def test_something_that_is_not_iterable_is_refused(texts):
    with pytest.raises(InvalidTextError, match=r"texts: got \w+; expected a list of str"):
        check_texts(texts)


@pytest.mark.parametrize("odd", [None, 3, float("nan"), b"x", ["x"], np.array(["x"])])
def test_an_element_that_is_not_text_is_named_by_position_and_type(odd):
    with pytest.raises(InvalidTextError, match=rf"texts\[2\]: got {type(odd).__name__}; expected str"):
        check_texts(["a", "b", odd, "c"])


@pytest.mark.parametrize(("text", "position"), [("ab\ud800", 2), ("\udc00x", 0), ("\ud83d\ude00\ud83d", 2)])
def test_half_of_a_surrogate_pair_is_named_by_code_and_position(text, position):
    with pytest.raises(InvalidTextError, match=rf"texts\[1\]: lone surrogate U\+D\w+ at character {position};"):
        check_texts(["fine", text])


def test_the_two_halves_of_a_pair_are_joined():
    assert check_text("smile \ud83d\ude00!", field="text") == "smile \U0001f600!"


@given(st.text())
def test_valid_unicode_is_left_alone(text):
    assert check_text(text, field="text") == text


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_the_outcome_is_valid_unicode_or_an_error(text):
    try:
        checked = check_text(text, field="text")
    except InvalidTextError:
        return
    assert checked.encode() == text.encode("utf-16", "surrogatepass").decode("utf-16").encode()


def test_messages_never_hold_the_text():
    with pytest.raises(InvalidTextError) as caught:
        check_texts(["my secret \ud800"])
    assert "secret" not in str(caught.value)
