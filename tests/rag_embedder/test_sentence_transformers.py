"""Folders go both ways between this project and sentence-transformers, with the same vectors."""

import numpy as np
import pytest

from rag_embedder import Embedder, Scenario
from rag_embedder.model_source import BASE_HUB_ID, base_folder
from tests.tiny_models import ARCHITECTURES, change_json, make_sentence_transformer, write_json, write_plain

sentence_transformers = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

TEXTS = ["the weather in Oslo", "x", "", "a dog and a cat play in the house. " * 20, "naïve café, 漢字 and 😀"]
PROMPTS = {"query": "Represent this query: ", "document": "doc: ", "law_query": "law q: ", "law_document": "law d: "}

pytestmark = pytest.mark.filterwarnings("ignore::rag_embedder.encoder.TruncationWarning")


def reference(folder):
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


def assert_same_vectors(embedder, model):
    for prompt, vectors in (
        ("query", embedder.encode_queries(TEXTS)),
        ("document", embedder.encode_documents(TEXTS)),
        ("law_query", embedder.encode_queries(TEXTS, "law")),
        ("law_document", embedder.encode_documents(TEXTS, "law")),
    ):
        expected = model.encode(TEXTS, prompt_name=prompt, normalize_embeddings=True, show_progress_bar=False)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.fixture(scope="module", params=[(a, p) for a in ARCHITECTURES for p in ("cls", "mean", "last")], ids="-".join)
def version_2(request, tmp_path_factory):
    architecture, pooling = request.param
    folder = write_plain(tmp_path_factory.mktemp("st") / request.param[0], architecture)
    return make_sentence_transformer(folder, pooling=pooling, prompts=PROMPTS)


def test_a_folder_of_version_2_gives_its_own_vectors(version_2):
    assert_same_vectors(Embedder.load(version_2), reference(version_2))


def test_a_folder_of_version_6_gives_its_own_vectors(version_2, tmp_path):
    model = reference(version_2)
    model.save_pretrained(str(tmp_path / "st6"), create_model_card=False)
    embedder = Embedder.load(tmp_path / "st6")
    assert embedder.max_length == model.max_seq_length == 96
    assert_same_vectors(embedder, model)


def test_what_is_saved_gives_the_same_vectors_in_plain_sentence_transformers(version_2, tmp_path):
    embedder = Embedder.load(version_2)
    embedder.save(tmp_path / "ours")
    model = reference(tmp_path / "ours")
    assert model.max_seq_length == embedder.max_length
    assert_same_vectors(embedder, model)
    again = Embedder.load(tmp_path / "ours")
    assert again.fingerprint == embedder.fingerprint
    np.testing.assert_array_equal(again.encode_queries(TEXTS), embedder.encode_queries(TEXTS))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_plain(tmp_path_factory.mktemp("st") / "plain")


def test_a_plain_folder_is_saved_with_its_cls_pooling_and_prompts(plain, tmp_path):
    embedder = Embedder.load(plain)
    embedder.register_scenario(Scenario("law", "law q: ", "law d: "))
    embedder.save(tmp_path / "ours")
    model = reference(tmp_path / "ours")
    expected = {"query", "document"} | {f"{name}_{role}" for name in embedder.scenarios for role in PROMPTS_ROLES}
    assert set(model.prompts) == expected
    assert model.prompts["query"] == "Represent this query for retrieving relevant documents: "
    assert_same_vectors(embedder, model)


PROMPTS_ROLES = ("query", "document")


def test_without_normalisation_in_the_folder_vectors_are_still_unit(tmp_path):
    folder = make_sentence_transformer(write_plain(tmp_path / "m"), prompts=PROMPTS, normalize=False)
    embedder, model = Embedder.load(folder), reference(folder)
    assert not np.allclose(np.linalg.norm(model.encode(TEXTS), axis=1), 1.0, atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(embedder.encode_queries(TEXTS), axis=1), 1.0, atol=1e-5)
    assert_same_vectors(embedder, model)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_lower_casing_is_done_as_there(tmp_path, architecture):
    folder = make_sentence_transformer(write_plain(tmp_path / "m", architecture), prompts=PROMPTS)
    change_json(folder / "sentence_bert_config.json", do_lower_case=True)
    embedder = Embedder.load(folder)
    assert_same_vectors(embedder, reference(folder))
    embedder.save(tmp_path / "ours")
    assert_same_vectors(embedder, reference(tmp_path / "ours"))


def test_a_length_stated_only_by_the_tokenizer_is_the_same_there(tmp_path):
    folder = make_sentence_transformer(write_plain(tmp_path / "m"), prompts=PROMPTS)
    write_json(folder / "sentence_bert_config.json", {})
    change_json(folder / "tokenizer_config.json", model_max_length=40)
    embedder, model = Embedder.load(folder), reference(folder)
    assert embedder.max_length == model.max_seq_length == 40
    assert_same_vectors(embedder, model)


def test_a_half_precision_checkpoint_is_saved_so_that_both_read_full_precision(tmp_path):
    import torch
    from safetensors.torch import load_file

    from tests.tiny_models import write_tensors

    folder = make_sentence_transformer(write_plain(tmp_path / "m"), prompts=PROMPTS)
    weights = folder / "model.safetensors"
    write_tensors(weights, {name: tensor.half() for name, tensor in load_file(weights).items()})
    change_json(folder / "config.json", dtype="float16", torch_dtype="float16")
    embedder = Embedder.load(folder)
    embedder.save(tmp_path / "ours")
    model = reference(tmp_path / "ours")
    assert model.dtype == torch.float32
    assert_same_vectors(embedder, model)
    assert Embedder.load(tmp_path / "ours").fingerprint == embedder.fingerprint


def test_scenarios_survive_a_round_trip_through_sentence_transformers(plain, tmp_path):
    embedder = Embedder.load(plain)
    embedder.register_scenario(Scenario("law", "law q: ", "law d: "))
    embedder.save(tmp_path / "ours")
    reference(tmp_path / "ours").save_pretrained(str(tmp_path / "theirs"), create_model_card=False)
    again = Embedder.load(tmp_path / "theirs")
    assert dict(again.scenarios) == dict(embedder.scenarios)
    np.testing.assert_allclose(again.encode_queries(TEXTS, "law"), embedder.encode_queries(TEXTS, "law"), atol=1e-6)


@pytest.fixture(scope="module")
def whole(minilm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("default") / "whole"
    minilm.save(folder)
    return folder


def test_the_default_equals_sentence_transformers_on_the_same_weights(whole):
    check_equal(Embedder.load(device="cpu", engine="transformers"), reference(whole))


def test_the_engine_that_is_chosen_gives_the_directions_of_sentence_transformers(minilm, whole):
    theirs = reference(whole).encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    assert (minilm.encode_documents(TEXTS) * theirs).sum(axis=1).min() >= 0.999


def test_the_base_equals_sentence_transformers_on_the_same_weights():
    embedder = Embedder.load(BASE_HUB_ID, device="cpu", engine="transformers", instructions="llm-embedder")
    check_equal(embedder, reference(base_folder()))


def check_equal(embedder, model):
    texts = ["What is the weather in Oslo?", "Paris is the capital of France.", "x"]
    encoders = {"query": embedder.encode_queries, "document": embedder.encode_documents}
    for role, encode in encoders.items():
        expected = model.encode(texts, prompt=embedder.scenarios["qa"].instruction(role), normalize_embeddings=True)
        np.testing.assert_allclose(encode(texts), expected, atol=1e-5)
