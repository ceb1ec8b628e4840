import shutil

import pytest
from transformers import AutoTokenizer

from rag_embedder.errors import ModelLoadError
from rag_embedder.tokenizer import TextTokenizer
from tests.tiny_models import ARCHITECTURES, make_tokenizer, write_plain

TEXT = "Book the flight to Zanzibar, then 2 trains!"


@pytest.fixture(scope="module")
def tokenizer():
    return TextTokenizer(make_tokenizer("bert"), max_length=16)


def words_of(tokenizer, text):
    (encoded,) = tokenizer.encode([text])
    return [tokenizer._tokenizer.id_to_token(number) for number in encoded.ids]


def test_special_tokens_are_put_around_the_text(tokenizer):
    assert words_of(tokenizer, "Book the flight") == ["[CLS]", "book", "the", "flight", "[SEP]"]


@pytest.mark.parametrize("text", ["a", "", "aa a", " "])
def test_the_shortest_texts_keep_their_special_tokens(tokenizer, text):
    words = words_of(tokenizer, text)
    assert (words[0], words[-1]) == ("[CLS]", "[SEP]")
    assert words.count("[SEP]") == 1


def test_a_long_text_is_cut_on_the_right_and_counted_in_full(tokenizer):
    (exact, cut) = tokenizer.encode(["the " * 14, "the " * 15])
    assert (len(exact.ids), exact.num_tokens, exact.is_truncated) == (16, 16, False)
    assert (len(cut.ids), cut.num_tokens, cut.is_truncated) == (16, 17, True)
    assert cut.ids == exact.ids


@pytest.mark.parametrize("special", ["[SEP]", "[CLS]", "[PAD]", "[MASK]"])
def test_text_that_looks_like_a_special_token_is_plain_text(tokenizer, special):
    words = words_of(tokenizer, f"rain {special} sun")
    assert words[:2] == ["[CLS]", "rain"]
    assert special not in words[1:-1]
    assert "[" in words


def test_offsets_are_character_spans_of_the_text_as_given(tokenizer):
    text = "Café [SEP] 😀 the\tend"
    spans = tokenizer.offsets(text)
    assert [text[start:end] for start, end in spans][:1] == ["Ca"]
    assert "".join(text[start:end] for start, end in spans) == text.replace(" ", "").replace("\t", "")


def test_count_leaves_out_special_tokens_and_cuts_nothing(tokenizer):
    assert tokenizer.count(["", "the flight", "the " * 100]) == [0, 2, 100]


def test_lower_case_is_applied_before_a_cased_vocabulary():
    cased, lowered = (TextTokenizer(make_tokenizer("roberta"), max_length=16, lower_case=on) for on in (False, True))
    assert lowered.encode(["THE Sun"]) == cased.encode(["the sun"])
    assert cased.encode(["THE Sun"]) != cased.encode(["the sun"])


def test_truncation_and_padding_of_the_file_do_not_apply():
    inner = make_tokenizer("bert")
    inner.enable_truncation(4)
    inner.enable_padding(length=9)
    (encoded,) = TextTokenizer(inner, max_length=16).encode(["the the the the the"])
    assert len(encoded.ids) == 7


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("max_length", [16, 96])
def test_ids_equal_those_of_transformers(tmp_path, architecture, max_length):
    folder = write_plain(tmp_path / "m", architecture)
    texts = [TEXT, "", "x", TEXT * 10, "naïve café, 漢字 and 😀", "a\tb\n\nc"]
    expected = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, max_length=max_length)["input_ids"]
    ours = TextTokenizer.from_folder(folder, max_length=max_length).encode(texts)
    assert [encoded.ids for encoded in ours] == expected


def test_a_vocabulary_without_tokenizer_json_is_converted(tmp_path, tiny_folder):
    folder = shutil.copytree(tiny_folder, tmp_path / "old")
    whole = TextTokenizer.from_folder(folder, max_length=32)
    vocabulary = whole._tokenizer.get_vocab()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)), encoding="utf-8")
    converted = TextTokenizer.from_folder(folder, max_length=32)
    assert converted.encode([TEXT, "rain"]) == whole.encode([TEXT, "rain"])


def test_a_folder_without_a_vocabulary_is_refused_instead_of_reading_every_word_as_unknown(tmp_path, tiny_folder):
    folder = shutil.copytree(tiny_folder, tmp_path / "none")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match=r"no readable tokenizer in .*none: none of tokenizer.json, vocab.txt"):
        TextTokenizer.from_folder(folder, max_length=32)


@pytest.mark.parametrize("content", ["", "{}", "{", "\0"])
def test_a_damaged_tokenizer_file_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"no readable tokenizer"):
        TextTokenizer.from_folder(tmp_path, max_length=32)


def test_vocabulary_size_is_one_more_than_the_largest_id(tokenizer):
    vocabulary = make_tokenizer("bert").get_vocab()
    assert tokenizer.vocabulary_size == max(vocabulary.values()) + 1 == len(vocabulary)
