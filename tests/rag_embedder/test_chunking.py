"""Chunks are spans of the text as it was given: within the budget, without holes, between words."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_embedder.chunking import chunk_spans


def tokens(text, size=4):
    """Words, cut into pieces of at most `size` characters, as subword tokenizers do."""
    spans = []
    for match in re.finditer(r"\S+", text):
        spans += [(start, min(start + size, match.end())) for start in range(match.start(), match.end(), size)]
    return spans


def count(text):
    return len(tokens(text))


def test_a_short_text_is_one_chunk_and_no_text_is_none():
    assert chunk_spans("  two words ", tokens("  two words "), chunk_tokens=8) == [(2, 11)]
    assert chunk_spans("", [], chunk_tokens=8) == []


def test_a_border_moves_back_to_the_last_space():
    text = "one two three fourfourfour five"  # fourfourfour is three tokens, the second of them is the ninth
    spans = chunk_spans(text, tokens(text), chunk_tokens=5)
    assert [text[start:end] for start, end in spans] == ["one two three", "fourfourfour five"]


def test_a_word_longer_than_a_chunk_is_cut():
    text = "x" * 100
    spans = chunk_spans(text, tokens(text), chunk_tokens=8)
    assert spans == [(0, 32), (32, 64), (64, 96), (96, 100)]


def test_overlap_repeats_the_last_words():
    text = " ".join(f"w{n:02}" for n in range(30))
    spans = chunk_spans(text, tokens(text), chunk_tokens=10, overlap_tokens=4)
    chunks = [text[start:end].split() for start, end in spans]
    assert chunks[0] == [f"w{n:02}" for n in range(10)]
    assert [chunk[:4] for chunk in chunks[1:]] == [chunk[-4:] for chunk in chunks[:-1]]
    assert chunks[-1][-1] == "w29"


def test_overlapping_chunks_begin_with_whole_words():
    text = " ".join(["abcdefghijkl"] * 40)  # three tokens each
    for start, _ in chunk_spans(text, tokens(text), chunk_tokens=31, overlap_tokens=8):
        assert start == 0 or text[start - 1] == " "


def test_a_large_overlap_cannot_multiply_the_chunks():
    text = "x" * 40_000  # no space to move back to, 10,000 tokens
    assert len(chunk_spans(text, tokens(text), chunk_tokens=32, overlap_tokens=20)) <= 10_000 / 4
    words = " ".join(["x" * 60] * 700)  # a space every 15 tokens
    assert len(chunk_spans(words, tokens(words), chunk_tokens=32, overlap_tokens=20)) <= count(words) / 4 + 1


@given(
    text=st.text(alphabet="ab \n\u3000é猫", max_size=400),
    chunk_tokens=st.integers(8, 40),
    overlap=st.integers(0, 39),
)
def test_chunks_cover_every_token_in_order_within_the_budget(text, chunk_tokens, overlap):
    overlap = min(overlap, chunk_tokens - 1)
    offsets = tokens(text, size=2)
    spans = chunk_spans(text, offsets, chunk_tokens=chunk_tokens, overlap_tokens=overlap)
    starts, ends = {start for start, _ in offsets}, {end for _, end in offsets}
    assert all(start in starts and end in ends for start, end in spans)
    for start, end in offsets:
        assert any(first <= start and end <= last for first, last in spans)
    for start, end in spans:
        assert sum(start <= first and last <= end for first, last in offsets) <= chunk_tokens
    assert all(one[0] < two[0] and one[1] < two[1] for one, two in pairwise(spans))
    if overlap == 0:
        assert all(one[1] <= two[0] for one, two in pairwise(spans))


@pytest.mark.parametrize(
    "text",
    ["Ünïcode ÇASE folds İstanbul " * 20, "猫が好きです。" * 40, "a\u0301e\u0301 " * 100, "👩‍👩‍👧‍👦 family " * 60],
)
def test_spans_of_a_real_tokenizer_are_those_of_the_given_text(embedder, text):
    offsets = embedder.token_offsets(text)
    spans = chunk_spans(text, offsets, chunk_tokens=16)
    seen = "".join(text[start:end] for start, end in spans)
    assert seen.replace(" ", "") == text.replace(" ", "")
    assert len(spans) >= len(offsets) / 16


def test_a_text_just_over_the_limit_is_halved_not_trimmed():
    text = " ".join(["word"] * 205)
    offsets = [(5 * i, 5 * i + 4) for i in range(205)]
    spans = chunk_spans(text, offsets, chunk_tokens=200)
    lengths = [len(text[start:end].split()) for start, end in spans]
    assert sum(lengths) == 205
    assert len(lengths) == 2
    assert min(lengths) > 80
