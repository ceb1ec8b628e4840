"""Scores equal a loop over single pairs, and order is what the scores say."""

import asyncio
import warnings

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rag_embedder import Demonstration, Document, Exchange, Hit, Reranker, Tool, Turn
from rag_embedder.errors import (
    ConfigError,
    InputError,
    InvalidTextError,
    ModelLoadError,
    UntrustedModelError,
    VectorError,
)
from rag_embedder.tool_schema import tool_text
from rag_embedder.truncation import TruncationWarning
from tests.tiny_models import change_json, write_plain
from tests.tiny_rerankers import write_cross_encoder, write_decoder

QUERY = "where is paris"
TEXTS = ["paris is in france", "a dog", "the weather in oslo is rain and snow", "red blue green", "x", "paris"]


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return write_cross_encoder(tmp_path_factory.mktemp("reranker") / "bert")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("reranker") / "llama")


def single_scores(folder, ids_of):
    """The model's own answer to one unpadded row at a time; `ids_of` gives the row of a text."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return [model(**ids_of(text)).logits[0, 0].item() for text in TEXTS]


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_a_cross_encoders_scores_are_those_of_single_pairs(cross_encoder, batch_tokens):
    tokenizer = AutoTokenizer.from_pretrained(cross_encoder)
    expected = single_scores(cross_encoder, lambda text: tokenizer(QUERY, text, return_tensors="pt"))
    found = Reranker.load(cross_encoder, device="cpu", batch_tokens=batch_tokens).score(QUERY, TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(set(np.round(found, 3))) == len(TEXTS)


@pytest.mark.parametrize("template", ["rankllama", "rankllama-eos"])
@pytest.mark.parametrize(("architecture", "padding_side"), [("llama", "right"), ("llama", "left"), ("mistral", "left")])
def test_a_decoders_scores_are_those_of_single_pairs(tmp_path, architecture, padding_side, template):
    folder = write_decoder(tmp_path / "decoder", architecture, padding_side=padding_side)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids_of(text):
        if template == "rankllama-eos":
            ids = [*tokenizer(f"query: {QUERY} document: {text}")["input_ids"], tokenizer.eos_token_id]
        else:
            ids = [*tokenizer(f"query: {QUERY}")["input_ids"], *tokenizer(f"document: {text}")["input_ids"]]
        return {"input_ids": torch.tensor([ids])}

    expected = single_scores(folder, ids_of)
    for batch_tokens in (1, 60, 10_000):
        reranker = Reranker.load(folder, device="cpu", template=template, batch_tokens=batch_tokens)
        np.testing.assert_allclose(reranker.score(QUERY, TEXTS), expected, atol=1e-5)


def test_the_end_token_is_scored_also_where_it_is_the_padding(tmp_path):
    folder = write_decoder(tmp_path / "decoder")
    plain = Reranker.load(folder, template="rankllama-eos").score(QUERY, TEXTS)
    change_json(folder / "config.json", pad_token_id=2)
    np.testing.assert_allclose(Reranker.load(folder, template="rankllama-eos").score(QUERY, TEXTS), plain, atol=1e-6)


def test_pairs_of_many_queries_are_scored_as_each_alone(decoder):
    reranker = Reranker.load(decoder, template="rankllama")
    pairs = [(query, text) for query in ("paris", "a green tree in oslo", "dog") for text in TEXTS]
    alone = [reranker.score(query, [text])[0] for query, text in pairs]
    np.testing.assert_allclose(reranker.score_pairs(pairs), alone, atol=1e-5)
    assert reranker.score("paris", []).shape == (0,)


def test_equal_scores_stay_in_order_and_k_is_obeyed(cross_encoder, monkeypatch):
    reranker = Reranker.load(cross_encoder)
    monkeypatch.setattr(reranker, "_score", lambda pairs: np.array([len(t) for _, t in pairs], dtype=np.float32))
    hits = reranker.rerank("x", ["aa", "b", "cc", "ddd"])
    assert [(hit.item, hit.id, hit.score, hit.rank) for hit in hits] == [
        ("ddd", "3", 3.0, 1),
        ("aa", "0", 2.0, 2),
        ("cc", "2", 2.0, 3),
        ("b", "1", 1.0, 4),
    ]
    assert [hit.item for hit in reranker.rerank("x", ["aa", "b", "cc", "ddd"], k=2)] == ["ddd", "aa"]
    assert reranker.rerank("x", []) == []


def test_hits_keep_item_and_id_and_what_they_scored_before(cross_encoder):
    reranker = Reranker.load(cross_encoder)
    items = [Document("is in france", id="p", title="paris"), Document("a dog", id="d")]
    given = [Hit(item, item.id, 0.9 - place, place + 1) for place, item in enumerate(items)]
    found = reranker.rerank(QUERY, given)
    expected = dict(zip("pd", reranker.score(QUERY, ["paris is in france", "a dog"]), strict=True))
    assert {hit.id: hit.score for hit in found} == pytest.approx(expected)
    assert {hit.id: hit.retrieval_score for hit in found} == {"p": 0.9, "d": 0.9 - 1}
    assert [hit.rank for hit in found] == [1, 2]
    assert found[0].score >= found[1].score
    assert asyncio.run(reranker.arerank(QUERY, given)) == found


def test_items_of_every_retriever_are_read_as_they_are_encoded(cross_encoder, monkeypatch):
    reranker = Reranker.load(cross_encoder)
    asked = []
    monkeypatch.setattr(reranker, "_score", lambda pairs: (asked.extend(pairs), np.zeros(len(pairs)))[1])
    tool = Tool("mail", "Send an e-mail.")
    exchange = Exchange("1", (Turn("user", "hi"), Turn("assistant", "hello")), "ann", "s", 0)
    hits = reranker.rerank("q", [Demonstration("in", "out"), tool, exchange, Document("x")])
    assert [text for _, text in asked] == ["in\nout", tool_text(tool), "Speaker 1: hi\nSpeaker 2: hello", "x"]
    assert [hit.id for hit in hits] == ["0", "mail", "1", "3"]
    with pytest.raises(InvalidTextError, match=r"candidates\[1\]: got int"):
        reranker.rerank("q", ["a", 1])


@pytest.mark.parametrize("template", ["rankllama", "rankllama-eos"])
def test_only_the_end_of_a_text_is_cut_and_counted(decoder, template):
    reranker = Reranker.load(decoder, template=template, max_length=24)
    long = "paris is in france " * 9
    with pytest.warns(TruncationWarning, match="1 of 2 texts have more than 24 tokens"):
        cut = reranker.score(QUERY, [long, "a dog"])
    assert reranker.num_truncated == 1
    (room,) = reranker.rooms([QUERY])
    words = long.split()
    # The document's own words fill the room that query and templates leave.
    whole = Reranker.load(decoder, template=template)
    fitting = [n for n in range(1, 30) if abs(whole.score(QUERY, [" ".join(words[:n])])[0] - cut[0]) < 1e-5]
    assert len(fitting) == 1
    assert 0 < fitting[0] < room + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reranker.score(QUERY, [long])  # said once
    assert reranker.num_truncated == 2


def test_a_cross_encoders_text_is_cut_as_transformers_cuts_it(cross_encoder):
    tokenizer = AutoTokenizer.from_pretrained(cross_encoder)
    long = "the cat and the dog " * 20
    row = tokenizer(QUERY, long, truncation="only_second", max_length=48, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(cross_encoder).eval()
    with torch.no_grad(), pytest.warns(TruncationWarning):
        assert Reranker.load(cross_encoder).score(QUERY, [long])[0] == pytest.approx(
            model(**row).logits.item(), abs=1e-5
        )


def test_a_query_without_room_for_a_text_is_refused(cross_encoder, decoder):
    reranker = Reranker.load(cross_encoder)
    with pytest.raises(InputError, match=r"pairs\[1\]: the query has 45 tokens; expected less than 45"):
        reranker.score_pairs([("dog", "x"), ("dog " * 45, "x")])
    assert reranker.rooms(["dog", "dog " * 45]) == [44, 0]
    with pytest.raises(InputError, match="so that a text has room"):
        Reranker.load(decoder, template="rankllama-eos", max_length=16).score("dog " * 20, ["x"])


def test_text_that_looks_like_a_special_token_is_plain_text(cross_encoder):
    scores = Reranker.load(cross_encoder).score("dog", ["cat", "[SEP] cat", "cat [SEP]"])
    assert len(set(np.round(scores, 3))) == 3


def test_scores_that_are_no_numbers_are_refused(cross_encoder):
    reranker = Reranker.load(cross_encoder)
    with torch.no_grad():
        reranker._model.classifier.bias.fill_(float("nan"))
    with pytest.raises(VectorError, match="the model gave NaN or infinity"):
        reranker.score("dog", ["cat"])


def test_what_is_no_text_is_refused_with_its_position(cross_encoder):
    reranker = Reranker.load(cross_encoder)
    with pytest.raises(InvalidTextError, match=r"texts\[1\]: got int"):
        reranker.score("q", ["a", 1])
    with pytest.raises(InvalidTextError, match="texts: got a bare str"):
        reranker.score("q", "text")
    with pytest.raises(InvalidTextError, match=r"pairs\[0\]: got str; expected \(query, text\)"):
        reranker.score_pairs(["ab"])
    with pytest.raises(InputError, match="k: got 0"):
        reranker.rerank("q", ["a"], k=0)


def test_what_cannot_be_loaded_says_why(tmp_path, decoder):
    with pytest.raises(ConfigError, match="gives 3 numbers for a pair; expected 1"):
        Reranker.load(write_cross_encoder(tmp_path / "three", num_labels=3))
    with pytest.raises(ModelLoadError, match=r"tensors are missing.*classifier"):
        Reranker.load(write_plain(tmp_path / "encoder"))
    with pytest.raises(ConfigError, match="a decoder whose files do not say how it reads a pair"):
        Reranker.load(decoder)
    with pytest.raises(ConfigError, match=r"unknown template 'rankllma'.*Did you mean 'rankllama'"):
        Reranker.load(decoder, template="rankllma")
    with pytest.raises(ModelLoadError, match="does not join two texts as cross-encoders do"):
        Reranker.load(decoder, template="pair")
    with pytest.raises(ConfigError, match="max_length: got 1000; expected an int from 8 to 256"):
        Reranker.load(decoder, template="rankllama", max_length=1000)
    (decoder / "model.safetensors").rename(decoder / "pytorch_model.bin")
    try:
        with pytest.raises(UntrustedModelError, match="pickled"):
            Reranker.load(decoder, template="rankllama")
    finally:
        (decoder / "pytorch_model.bin").rename(decoder / "model.safetensors")


def test_the_fingerprint_is_of_all_that_decides_a_score(tmp_path, decoder):
    def fingerprint(folder, **options):
        return Reranker.load(folder, **{"template": "rankllama", **options}).fingerprint

    first = fingerprint(decoder)
    assert fingerprint(decoder) == first
    others = {
        fingerprint(decoder, template="rankllama-eos"),
        fingerprint(decoder, max_length=32),
        fingerprint(decoder, dtype="bfloat16"),
        fingerprint(write_decoder(tmp_path / "other", seed=1)),
    }
    assert len(others | {first}) == 5


def test_it_is_not_pickled(cross_encoder):
    import pickle

    with pytest.raises(TypeError, match="load it again in another process"):
        pickle.dumps(Reranker.load(cross_encoder))
