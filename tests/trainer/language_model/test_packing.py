"""Rows: nothing lost, nothing twice, outputs never cut; the mixture keeps its shares."""

import functools
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_embedder.errors import ConfigError
from tests.trainer.language_model.lm_cases import make_recipe
from trainer.examples import Candidate, Example
from trainer.fit_lm import prepare_run
from trainer.language_model.data import RawSet
from trainer.language_model.documents import TokenSequence
from trainer.language_model.mixture import Mixture, RowStream
from trainer.language_model.packing import pack
from trainer.language_model.prompted import PromptedSource, trainable
from trainer.language_model.settings import TextDataSettings
from trainer.language_model.tokenizer import learned_tokenizer
from trainer.templates import TEMPLATES


def sequences_of(sizes):
    """Every token has an id of its own, from 1 on."""
    starts = np.cumsum([1, *sizes])
    made = []
    for start, size in zip(starts, sizes, strict=False):
        weights = np.ones(size, dtype=np.float32)
        weights[0] = 0
        made.append(TokenSequence(np.arange(start, start + size, dtype=np.int32), weights))
    return made


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=30), st.booleans())
def test_every_token_is_predicted_once(sizes, may_be_cut):
    sequences = sequences_of(sizes)
    rows = pack(sequences, length=8, may_be_cut=may_be_cut, pad_id=0)
    assert rows.ids.shape == rows.weights.shape == (len(rows), 9)
    predicted = rows.ids[:, 1:][rows.weights[:, 1:] > 0]
    expected = np.concatenate([sequence.ids[1:] for sequence in sequences])
    assert sorted(predicted.tolist()) == expected.tolist()
    if not may_be_cut:
        text = [" ".join(map(str, row)) for row in rows.ids.tolist()]
        assert all(any(" ".join(map(str, each.ids.tolist())) in row for row in text) for each in sequences)


def test_whole_sequences_go_into_the_fullest_row_with_room():
    rows = pack(sequences_of([6, 4, 5, 3]), length=8, may_be_cut=False, pad_id=0)
    assert [np.count_nonzero(row) for row in rows.ids] == [9, 9]
    assert rows.padding_share == 0.0


class _Source:
    may_be_cut = False

    def __init__(self, name, count):
        self.name = name
        self._count = count

    def sequences(self, epoch):
        for number in range(self._count):
            ids = np.array([epoch, number, 0, 0, 0], dtype=np.int32)
            yield TokenSequence(ids, np.array([0, 1, 1, 1, 1], dtype=np.float32))


def test_a_stream_gives_every_row_once_per_epoch_in_any_order_of_asking():
    stream = RowStream(_Source("a", 7), length=4, pad_id=0, seed=1)
    forward = [stream.row(number)[0].tolist() for number in range(21)]
    assert [row[0] for row in forward] == [0] * 7 + [1] * 7 + [2] * 7
    assert all(sorted(row[1] for row in forward[start : start + 7]) == list(range(7)) for start in (0, 7, 14))
    fresh = RowStream(_Source("a", 7), length=4, pad_id=0, seed=1)
    assert [fresh.row(number)[0].tolist() for number in (20, 3, 9)] == [forward[20], forward[3], forward[9]]


def test_a_mixture_holds_the_shares_and_reads_no_row_twice():
    streams = {name: RowStream(_Source(name, 5000), length=4, pad_id=0, seed=1) for name in ("a", "b", "c")}
    mixture = Mixture(streams, {"a": 3.0, "b": 1.0, "c": 0.001}, seed=4)
    names, ids, _ = mixture.rows(0, 1000)
    assert {name: names.count(name) for name in streams} == {"a": 749, "b": 250, "c": 1}
    again = [mixture.rows(step, 100) for step in range(10)]
    assert functools.reduce(operator.iadd, (each[0] for each in again), []) == names
    assert np.array_equal(np.concatenate([each[1] for each in again]), ids)
    read = [row[1] for name, row in zip(names, ids.tolist(), strict=True) if name == "a"]
    assert len(set(read)) == len(read)


def example(number, output="yes"):
    candidates = (Candidate(id="p", text=f"gold {number}", label=1), Candidate(id="n", text=f"bad {number}"))
    return Example(id=f"q{number}", query=f"question {number}", candidates=candidates, answers=(output,))


def test_examples_are_read_as_they_are_scored_and_mostly_with_what_is_relevant():
    examples = [example(number) for number in range(400)]
    words = [*(f"gold {n} bad {n} question {n}" for n in range(400)), "Knowledge: Question: Answer: yes"]
    tokenizer = learned_tokenizer(words, vocabulary_size=500, max_length=64)
    given_settings = TextDataSettings(name="qa", path="-", kind="examples", scenario="qa", context_weight=0.25)
    source = PromptedSource(given_settings, examples, TEMPLATES["qa"], tokenizer, seed=0, max_length=64)
    made = list(source.sequences(0))
    texts = [tokenizer.decode(sequence.ids) for sequence in made]
    assert len(texts) == 400
    assert all(text.endswith("\n\nAnswer: yes</s>") for text in texts)
    own = sum(f"gold {text.split('question ')[1].split()[0]}\n" in text for text in texts)
    assert 270 < own < 340
    assert 15 < sum("Knowledge" not in text for text in texts) < 55
    assert 10 < sum("bad" in text for text in texts) < 75
    output = tokenizer(" yes", add_special_tokens=False)["input_ids"]
    for sequence in made:
        assert sequence.weights.tolist() == [0.0] + [0.25] * (len(sequence.ids) - len(output) - 2) + [1.0] * (
            len(output) + 1
        )
    assert [s.ids.tolist() for s in source.sequences(0)] == [s.ids.tolist() for s in made]
    assert [s.ids.tolist() for s in source.sequences(1)] != [s.ids.tolist() for s in made]


def test_outputs_are_never_cut_and_contexts_lose_their_beginning():
    examples = [example(1, "yes " * 30), example(2, "no"), example(3, " ")]
    tokenizer = learned_tokenizer(["gold bad question yes no"], vocabulary_size=300, max_length=24)
    kept, left_out = trainable(examples, TEMPLATES["qa"], tokenizer, max_length=24)
    assert [each.id for each in kept] == ["q2"]
    assert left_out == {"without an output that fits": 2}
    given_settings = TextDataSettings(name="qa", path="-", kind="examples", scenario="qa")
    source = PromptedSource(given_settings, kept, TEMPLATES["qa"], tokenizer, seed=0, max_length=24)
    (sequence,) = source.sequences(0)
    assert len(sequence.ids) == 24
    assert sequence.ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(sequence.ids).endswith("Answer: no</s>")


def test_held_out_documents_are_drawn_with_the_seed_and_never_trained_on(tmp_path):
    settings_ = make_recipe(tmp_path).data[0]
    raw = RawSet(settings_, texts=[f"text {number}" for number in range(60)])
    train, held_out = raw.split(3)
    assert len(held_out.texts) == 5
    assert sorted([*train.texts, *held_out.texts]) == sorted(raw.texts)
    assert raw.split(3)[1].texts == held_out.texts != raw.split(4)[1].texts
    with pytest.raises(ConfigError, match=r"data\.text\.held_out is 5; expected less than the 5 documents"):
        RawSet(settings_, texts=raw.texts[:5]).split(3)


def test_held_out_values_equal_a_plain_computation(tmp_path):
    run = prepare_run(make_recipe(tmp_path))
    examples = next(each for each in run.sets if each.settings.name == "qa").held_out
    values = examples.log_likelihoods(run.decoder)
    metrics = examples.measure(run.decoder)
    assert len(values) == 18
    assert metrics["positive"] == pytest.approx(sum(values[0::3]) / 6)
    wins = [one > other for one, other in zip(values[0::3], values[1::3], strict=True)]
    assert metrics["auc"] == pytest.approx(sum(wins) / 6)
    texts = next(each for each in run.sets if each.settings.name == "text").held_out
    # a random model of 400 entries is near uniform; the texts are all of one length in bytes but for digits
    found = texts.measure(run.decoder)
    assert found["perplexity"] == pytest.approx(len(run.tokenizer), rel=0.1)
    assert found["bits_per_byte"] < found["loss"]
