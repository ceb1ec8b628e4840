"""What is read: passages with their next ones, pairs as released, the sets of words to predict; and what is refused."""

import json

import numpy as np
import pytest
from transformers import AddedToken, PreTrainedTokenizerFast

from rag_embedder.errors import ConfigError
from tests import tiny_models
from tests.trainer.pretraining.pretrain_cases import make_recipe, make_tokenizer
from trainer.errors import ExamplesError
from trainer.language_model.documents import encode
from trainer.pretrain import prepare_run
from trainer.pretraining.passages import Pair, passages_of, read_documents, split_documents
from trainer.pretraining.settings import PassageDataSettings
from trainer.pretraining.stop_words import STOP_WORDS
from trainer.pretraining.targets import TargetWords


def settings_of(path="-", **changes):
    return PassageDataSettings(name="text", path=str(path), **changes)


def test_a_text_is_cut_into_passages_and_each_predicts_the_one_behind_it():
    tokenizer = make_tokenizer()
    texts = ["the dog and the cat . " * 6, "rain", "snow . " * 8]
    whole = [ids for ids in encode(tokenizer, texts)]
    found = passages_of(texts, settings_of(passage_tokens=10, min_tokens=3), tokenizer, room=30)
    expected = []
    for ids in whole:
        parts = [ids[start : start + 10] for start in range(0, len(ids), 10)]
        expected += [part for part in parts if len(part) >= 3]
    assert [each.text.tolist() for each in found] == expected
    assert all(each.itself.tolist() == each.text.tolist() for each in found)
    first = [each for each in found if each.text.tolist() in [whole[0][s : s + 10] for s in range(0, 90, 10)]]
    assert first[0].following.tolist() == whole[0][10:20]
    last = [each for each in found if not len(each.following)]
    assert len(last) == sum(len(ids) >= 3 for ids in whole)
    assert len(passages_of(texts[:1], settings_of(), tokenizer, room=1000)) == 1
    with pytest.raises(ConfigError, match=r"data\.text\.passage_tokens is 40; expected at most 30"):
        passages_of(texts, settings_of(passage_tokens=40), tokenizer, room=30)


def test_pairs_are_read_as_released_and_cut(tmp_path):
    path = tmp_path / "pairs.jsonl"
    lines = [
        {"input": "the dog sings", "output_summarize": "the dog", "output_predict": "the cat runs . " * 9},
        {"input": "rain", "output_predict": "snow"},
        {"input": "paris"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = settings_of(path, kind="pairs", passage_tokens=6)
    pairs = read_documents(settings)
    assert pairs[1:] == [Pair("rain", "rain", "snow"), Pair("paris", "paris", "")]
    tokenizer = make_tokenizer()
    first, second, third = passages_of(pairs, settings, tokenizer, room=50)
    assert tokenizer.decode(first.itself) == "the dog"
    assert first.following.tolist() == encode(tokenizer, [lines[0]["output_predict"]])[0][:6]
    assert tokenizer.decode(second.following) == "snow"
    assert len(third.following) == 0


def test_broken_pairs_are_named_by_file_and_line(tmp_path):
    path = tmp_path / "pairs.jsonl"
    lines = ['{"output_predict": "x"}', '{"input": "secret words", "output_summarize": " "}', "[1]", '{"input": 3}']
    path.write_text("\n".join(lines))
    with pytest.raises(ExamplesError) as error:
        read_documents(settings_of(path, kind="pairs"))
    message = str(error.value)
    for part in (":1: no field 'input'", ":2: 'output_summarize' and", ":3: a JSON list", ":4: 'input'"):
        assert part in message
    assert "secret" not in message
    path.write_text("")
    with pytest.raises(ExamplesError, match="no pair"):
        read_documents(settings_of(path, kind="pairs"))


def test_held_out_documents_are_never_trained_on():
    documents = [f"text {number}" for number in range(30)]
    train, held_out = split_documents(documents, settings_of(held_out=4), seed=3)
    assert len(held_out) == 4
    assert sorted([*train, *held_out]) == sorted(documents)
    assert split_documents(documents, settings_of(held_out=4), seed=3)[1] == held_out
    with pytest.raises(ConfigError, match=r"data\.text\.held_out is 30; expected less than the 30 documents"):
        split_documents(documents, settings_of(held_out=30), seed=3)


def test_special_tokens_are_no_targets_whatever_their_ids():
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<s1>", special=True)], special_tokens=True)
    slot, end = len(tokenizer) - 1, tokenizer.eos_token_id
    words = TargetWords(tokenizer, remove_stop_words=False)
    assert words.of(np.array([9, slot, 4, end, 9, tokenizer.bos_token_id])).tolist() == [4, 9]
    assert words.of(np.array([slot, end])).tolist() == []


def test_stop_words_are_whole_entries_at_the_beginning_of_a_word():
    tokenizer = make_tokenizer()
    words = TargetWords(tokenizer, remove_stop_words=True)
    known = tokenizer.get_vocab()
    assert {"\u0120the", "\u0120and", "\u0120."} <= known.keys()
    excluded = {tokenizer.convert_ids_to_tokens(int(number)) for number in words.excluded}
    assert {"\u0120the", "\u0120and", "\u0120.", "<s>", "</s>", "!", "\u0120"} <= excluded
    # a piece of a word may read like a stop word; a part of a character is no punctuation
    assert not {"\u0120dog", "he", "a", "s", "\u00c3"} & excluded
    text = encode(tokenizer, [" the dog and the cat ."])[0]
    assert [tokenizer.decode([number]) for number in sorted(words.of(np.array(text)))] == [
        tokenizer.decode([number]) for number in sorted({number for number in text}) if number not in words.excluded
    ]


def test_stop_words_of_a_word_piece_vocabulary(tmp_path):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_models.make_tokenizer("bert"))
    excluded = set(TargetWords(tokenizer, remove_stop_words=True).excluded.tolist())
    known = tokenizer.get_vocab()
    assert {known[token] for token in ("the", "with", "[CLS]", "[MASK]", ".")} <= excluded
    assert not {known[token] for token in ("##he", "##s", "dog", "7")} & excluded
    assert {"the", "of", "is"} <= STOP_WORDS
    assert "dog" not in STOP_WORDS


def test_passages_with_nothing_to_predict_are_left_out(tmp_path):
    path = tmp_path / "pairs.jsonl"
    lines = [
        {"input": "the dog", "output_predict": "cat"},
        {"input": "rain"},
        {"input": "and the", "output_predict": "."},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = {"path": str(path), "kind": "pairs", "held_out": 0}
    run = prepare_run(make_recipe(tmp_path, data=data, objective={"tasks": "next"}))
    assert (len(run.sets[0].sequences), run.sets[0].num_left_out) == (2, 1)
    assert all(sequence.shape.own == 0 for sequence in run.sets[0].sequences)
    path.write_text(json.dumps({"input": "rain"}))
    with pytest.raises(ExamplesError, match="none of 1 documents has a passage with something to predict for next"):
        prepare_run(make_recipe(tmp_path, data=data, objective={"tasks": "next"}, base=tmp_path / "base"))


def test_a_stream_reads_every_passage_once_per_epoch(tmp_path):
    run = prepare_run(make_recipe(tmp_path))
    stream, sequences = run._streams["text"], run.sets[0].sequences
    read, number = [], 0
    while len(read) < 2 * len(sequences):
        row = stream.row(number)
        assert sum(len(sequence.ids) for sequence in row) <= 128
        read += row
        number += 1
    place = {id(sequence): number for number, sequence in enumerate(sequences)}
    first, second = ([place[id(each)] for each in part] for part in (read[: len(sequences)], read[len(sequences) :]))
    assert sorted(first) == sorted(second) == list(range(len(sequences)))
    assert first != second
