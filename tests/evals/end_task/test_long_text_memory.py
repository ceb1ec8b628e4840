"""The long-text protocol's arithmetic on made-up ids: 239 keys, 240 values, 8 queries, 4,096 tokens, 128 scored."""

import math
from dataclasses import replace

import pytest
import torch

from evals.datasets.texts import LongText
from evals.end_task.long_text_chunks import PAPER, SMALL, LongTextSettings, chunk, cut
from evals.end_task.long_text_memory import evaluate, key_texts, oracle, query_texts, recency
from evals.language_model import Score
from evals.language_model.local import LocalLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import ConfigError, InputError
from tests.evals.end_task.scripted_language_model import ScriptedLanguageModel
from tests.tiny_language_models import make_language_model, make_tokenizer

TOY = LongTextSettings(
    document_tokens=60, window_tokens=16, target_tokens=8, chunk_tokens=4, num_retrieved=2, max_characters=10_000
)
"""15 chunks: 11 values, 10 keys; a window of 4, of which 2 are targets: chunks 13 and 14."""


class RecordingModel(ScriptedLanguageModel):
    """Ids are numbers of their own; what is scored is kept as ids."""

    def tokenize(self, texts):
        return [[int(word) for word in text.split()] for text in texts]

    def decode(self, ids):
        return [" ".join(map(str, row)) for row in ids]

    def log_likelihoods(self, requests, *, max_length=None):
        assert max_length is None
        self.scored += [(list(r.context), list(r.continuation)) for r in requests]
        return [
            Score(-self._loss(list(r.context), list(r.continuation)) * len(r.continuation), len(r.continuation), False)
            for r in requests
        ]


def numbers(count, start=0):
    return " ".join(str(n) for n in range(start, start + count))


def toy(count=60, id_="d", settings=TOY):
    return chunk(id_, list(range(count)), settings)


def test_the_papers_constants():
    text = chunk("d", list(range(32_768)), PAPER)
    assert (len(text.chunks), {len(each) for each in text.chunks}) == (256, {128})
    assert (text.num_keys, text.num_values) == (239, 240)
    assert list(text.targets) == list(range(248, 256))
    assert sum(len(each) for each in text.chunks[:240]) == 30_720
    assert PAPER.input_tokens == 4096


def test_the_papers_input_is_8_pairs_and_the_window_and_128_tokens_are_scored():
    lm = RecordingModel()
    chunked, too_short = cut(lm, [LongText(id="d", text=numbers(40_000))], replace(PAPER, max_characters=10**6))
    assert too_short == []
    text = chunked[0]
    assert text.chunks[0][0] == 40_000 - 32_768  # the end of the text is kept
    keys = {text.target_id(target): [238, 0, 7, 100, 8, 50, 60, 70, 80] for target in text.targets}
    evaluate(lm, chunked, keys, condition="dense")
    assert len(lm.scored) == 8
    first = 40_000 - 32_768
    for target, (context, scored) in zip(range(248, 256), lm.scored, strict=True):
        assert scored == list(range(first + target * 128, first + target * 128 + 128))
        pairs = [first + key * 128 + n for key in (0, 7, 8, 50, 60, 70, 100, 238) for n in range(256)]
        window = list(range(first + 240 * 128, first + target * 128))
        assert context == pairs + window
        # The window ends with the target: 4,096 tokens for the last target, 128 less for each one before it.
        assert len(context) + len(scored) == 4096 - (255 - target) * 128


def test_the_small_preset_fits_into_1024_tokens():
    text = chunk("d", list(range(8192)), SMALL)
    assert (text.num_keys, text.num_values, len(text.targets), SMALL.input_tokens) == (119, 120, 4, 1024)


def test_queries_are_the_chunks_before_the_targets():
    lm, text = RecordingModel(), toy()
    assert query_texts(lm, text) == {"d#13": "48 49 50 51", "d#14": "52 53 54 55"}
    assert key_texts(lm, text)[0] == "0 1 2 3"
    assert key_texts(lm, text)[-1] == "36 37 38 39"
    assert len(key_texts(lm, text)) == 10


def ids_of(*chunks):
    return [4 * number + n for number in chunks for n in range(4)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (5, 6, 6, 7)),  # chunk 6 continues 5 and is found itself
        ({"order": "relevance"}, (5, 6, 6, 7)),
        ({"merge_overlaps": True}, (5, 6, 7)),
    ],
)
def test_pairs_that_overlap_are_read_twice_unless_merged(options, expected):
    lm = RecordingModel()
    evaluate(lm, [toy()], {"d#14": [6, 5, 0]}, condition="x", settings=replace(TOY, **options))
    assert lm.scored == [
        (ids_of(11, 12), ids_of(13)),
        ([*ids_of(*expected), *ids_of(11, 12, 13)], ids_of(14)),
    ]


def test_the_most_relevant_pair_can_stand_last():
    lm = RecordingModel()
    evaluate(lm, [toy()], {"d#13": [2, 8]}, condition="x", settings=replace(TOY, order="relevance"))
    assert lm.scored[0] == (ids_of(8, 9, 2, 3, 11, 12), ids_of(13))


def test_recency_is_the_text_just_before_the_window():
    lm, text = RecordingModel(), toy()
    found = recency([text], 2)
    assert found == {"d#13": [9, 7], "d#14": [9, 7]}
    evaluate(lm, [text], found, condition="recency", settings=TOY)
    assert lm.scored[1] == (ids_of(7, 8, 9, 10, 11, 12, 13), ids_of(14))
    paper = recency([chunk("p", list(range(32_768)), PAPER)], 8)
    assert paper["p#248"] == [238, 236, 234, 232, 230, 228, 226, 224]


def test_a_text_that_is_no_whole_number_of_chunks_has_a_short_first_chunk():
    text = toy(58)
    assert [len(each) for each in text.chunks] == [2] + [4] * 14
    lm = RecordingModel()
    evaluate(lm, [text], {"d#13": [0]}, condition="x", settings=TOY)
    assert lm.scored[0] == ([*range(0, 6), *range(42, 50)], list(range(50, 54)))


@pytest.mark.parametrize(
    ("count", "num_values", "num_keys", "first_read"),
    [(24, 2, 1, 0), (20, 1, 0, 4), (17, 1, 0, 1), (16, 0, 0, 0), (9, 0, 0, 0), (8, 0, 0, 0)],
)
def test_of_a_short_text_what_exists_is_taken(count, num_values, num_keys, first_read):
    lm, text = RecordingModel(), toy(count)
    assert (text.num_values, text.num_keys) == (num_values, num_keys)
    assert len(key_texts(lm, text)) == num_keys
    assert set(query_texts(lm, text)) == ({text.target_id(t) for t in text.targets} if num_keys else set())
    result = evaluate(lm, [text], recency([text], 2), condition="recency", settings=TOY)
    # The first token of a text has nothing before it: of 8 tokens, 7 are scored.
    assert result.num_scored_tokens == (7 if count == 8 else 8)
    assert [scored for _, scored in lm.scored] == (
        [[1, 2, 3], [4, 5, 6, 7]] if count == 8 else [[*range(count - 8, count - 4)], [*range(count - 4, count)]]
    )
    assert lm.scored[1][0] == list(range(first_read, count - 4))


def test_texts_without_all_targets_are_skipped_and_said_to_be():
    lm = RecordingModel()
    texts = [LongText(id="long", text=numbers(70)), LongText(id="short", text=numbers(7))]
    chunked, too_short = cut(lm, texts, TOY)
    assert ([text.id for text in chunked], too_short) == (["long"], ["short"])
    result = evaluate(lm, chunked, {}, condition="none", settings=TOY, skipped=too_short)
    assert result.skipped == ("short",)
    assert set(result.values["nll"]) == {"long"}


def test_characters_are_cut_at_the_end_and_tokens_at_the_beginning():
    lm = RecordingModel()
    chunked, _ = cut(lm, [LongText(id="d", text=numbers(500, 100))], replace(TOY, max_characters=400))
    assert chunked[0].ids(range(15)) == list(range(140, 200))  # 100 numbers of 4 characters are 100 ... 199


def test_perplexity_is_of_the_mean_over_texts_and_a_texts_loss_over_its_tokens():
    losses = {1: 1.0, 2: 3.0}
    lm = RecordingModel(loss=lambda context, scored: losses[scored[0] // 1000])
    texts = [chunk("a", range(1000, 1060), TOY), chunk("b", range(2000, 2060), TOY)]
    result = evaluate(lm, texts, {}, condition="none", settings=TOY)
    assert result.values["nll"] == {"a": 1.0, "b": 3.0}
    assert result.summary["perplexity"] == pytest.approx(math.exp(2.0))
    assert result.num_scored_tokens == 16


def test_the_oracle_orders_keys_by_the_loss_of_each_pair_alone():
    # Chunk 3 holds the ids 12 to 15, and helps as key 3 and as the continuation of key 2.
    lm = RecordingModel(loss=lambda context, scored: 1.0 if 12 in context else 2.0 + context[0] / 100)
    found = oracle(lm, [toy()], settings=TOY)
    assert found["d#13"] == [2, 3, 0, 1, 4, 5, 6, 7, 8, 9]
    assert len(lm.scored) == 2 * 10
    assert lm.scored[0] == (ids_of(0, 1, 11, 12), ids_of(13))


def test_numbers_that_are_no_keys_are_refused():
    with pytest.raises(InputError, match="chunk 10 is none of its 10 keys"):
        evaluate(RecordingModel(), [toy()], {"d#14": [10]}, condition="x", settings=TOY)


@pytest.mark.parametrize(
    "lengths",
    [
        {"chunk_tokens": 3},
        {"target_tokens": 16},
        {"target_tokens": 0},
        {"document_tokens": 12},
        {"chunk_tokens": 1},
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ConfigError, match="lengths"):
        replace(TOY, **lengths)


def test_a_model_that_reads_less_than_the_input_is_refused():
    with pytest.raises(ConfigError, match="inputs of 4096 tokens, but scripted reads 4095"):
        cut(RecordingModel(max_length=4095), [], PAPER)
    assert cut(RecordingModel(max_length=4096), [], PAPER) == ([], [])


def test_a_real_models_loss_equals_that_of_the_whole_window_read_at_once():
    tokenizer, model = make_tokenizer(), make_language_model()
    lm = LocalLanguageModel(model, TokenizerVocabulary(tokenizer), name="tiny", device="cpu")
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, len(tokenizer), (60,), generator=generator).tolist()
    text = chunk("d", ids, TOY)
    retrieved = {"d#13": [2, 8], "d#14": [0, 5]}
    result = evaluate(lm, [text], retrieved, condition="dense", settings=TOY)
    total = 0.0
    for target, keys in ((13, (2, 8)), (14, (0, 5))):
        # The published code reads the whole window, with the targets that follow, and counts the target's loss.
        prefix = [token for key in keys for token in ids[4 * key : 4 * key + 8]]
        whole = prefix + ids[44:60]
        with torch.no_grad():
            rows = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        places = range(16 + (target - 11) * 4, 16 + (target - 10) * 4)
        assert [whole[place] for place in places] == ids[4 * target : 4 * target + 4]
        total -= sum(rows[place - 1, whole[place]].item() for place in places)
    assert result.values["nll"]["d"] == pytest.approx(total / 8, abs=1e-4)
