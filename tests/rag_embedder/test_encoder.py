"""`Embedder`: texts of one scenario and role in, unit vectors out."""

import shutil
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from rag_embedder import Embedder, KnowledgeRetriever, Scenario, encoder
from rag_embedder.encoder import TruncationWarning
from rag_embedder.errors import ConfigError, InvalidTextError, TextTruncatedError
from rag_embedder.scenario import INSTRUCTION_SETS, SCENARIO_NAMES
from tests.tiny_models import change_json, make_sentence_transformer, write_plain

WORDS = ["rain", "sun", "the", "house", "paris", "oslo", "cat", "zanzibar", "42", "!"]


def random_texts(count, *, longest=60, seed=0):
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=generator.integers(0, longest))) for _ in range(count)]


@pytest.fixture(scope="module")
def st_folder(tmp_path_factory):
    """A Sentence-Transformers folder that no test changes."""
    return make_sentence_transformer(write_plain(tmp_path_factory.mktemp("encoder") / "st"), pooling="mean")


@pytest.fixture
def fresh(st_folder):
    """An encoder that has not warned yet; reads 96 tokens."""
    return Embedder.load(st_folder, device="cpu", instructions="llm-embedder")


class TestVectors:
    def test_rows_are_unit_float32_in_the_order_of_the_texts(self, embedder):
        texts = random_texts(50)
        vectors = embedder.encode_queries(texts)
        assert vectors.shape == (50, embedder.dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
        np.testing.assert_allclose(vectors[::-1], embedder.encode_queries(texts[::-1]), atol=1e-5)

    @pytest.mark.parametrize("count", [2, 31, 32, 33, 200])
    def test_a_vector_does_not_depend_on_the_rest_of_the_batch(self, embedder, count):
        texts = random_texts(count, seed=count)
        together = embedder.encode_documents(texts, "tool")
        alone = np.concatenate([embedder.encode_documents([text], "tool") for text in texts])
        np.testing.assert_allclose(together, alone, atol=1e-5)

    def test_no_texts_give_no_rows_of_the_right_width(self, embedder):
        for encode in (embedder.encode_queries, embedder.encode_documents):
            vectors = encode([])
            assert vectors.shape == (0, embedder.dim)
            assert vectors.dtype == np.float32

    def test_query_and_document_and_every_scenario_have_their_own_vectors(self, embedder):
        vectors = [
            encode(["rain in oslo"], scenario)[0]
            for encode in (embedder.encode_queries, embedder.encode_documents)
            for scenario in SCENARIO_NAMES
        ]
        scores = np.array(vectors) @ np.array(vectors).T
        assert (scores[~np.eye(12, dtype=bool)] < 0.9999).all()

    def test_the_instruction_is_put_before_the_text_by_plain_concatenation(self, embedder, st_folder):
        bare = Embedder.load(st_folder, device="cpu", instructions="none")
        pair = INSTRUCTION_SETS["llm-embedder"]["icl"]
        for encode, instruction in (
            (embedder.encode_queries, pair.query_instruction),
            (embedder.encode_documents, pair.document_instruction),
        ):
            np.testing.assert_allclose(encode(["rain"], "icl"), bare.encode_queries([instruction + "rain"]), atol=1e-5)

    def test_generators_and_arrays_are_encoded_like_lists(self, embedder):
        expected = embedder.encode_queries(["rain", "sun"])
        np.testing.assert_array_equal(embedder.encode_queries(text for text in ["rain", "sun"]), expected)
        np.testing.assert_array_equal(embedder.encode_queries(np.array(["rain", "sun"])), expected)

    def test_halves_of_a_surrogate_pair_are_the_character_they_make(self, minilm):
        np.testing.assert_allclose(
            minilm.encode_queries(["fun \ud83d\ude00"]), minilm.encode_queries(["fun \U0001f600"]), atol=1e-6
        )

    def test_a_special_token_in_a_text_does_not_end_it(self, embedder):
        plain, special, cut = embedder.encode_queries(["rain", "rain [SEP] sun", "rain [SEP] oslo"])
        assert plain @ special < 0.999
        assert special @ cut < 0.9999

    @pytest.mark.parametrize("text", ["", " ", "\n", "\0", "\u200b", "a\0b", "漢字"])
    def test_odd_texts_have_a_finite_unit_vector(self, embedder, text):
        np.testing.assert_allclose(np.linalg.norm(embedder.encode_documents([text])), 1.0, atol=1e-5)

    @pytest.mark.parametrize("unit", ["a", "ab cd ", "漢"])
    def test_a_million_characters_take_seconds_and_are_counted(self, fresh, unit):
        text = unit * (1_000_000 // len(unit))
        start = time.process_time()  # of this process alone: the machine may be busy
        with pytest.warns(TruncationWarning) if unit != "a" else warnings.catch_warnings():
            vectors = fresh.encode_documents([text])
        assert time.process_time() - start < 5
        assert vectors.shape == (1, fresh.dim)

    def test_bfloat16_on_the_cpu_stays_near_float32(self, minilm):
        half = Embedder.load(device="cpu", dtype="bfloat16")
        texts = ["what is the weather in oslo", "capital of france " * 30, "x"]
        vectors = half.encode_queries(texts)
        assert vectors.dtype == np.float32
        assert ((vectors * minilm.encode_queries(texts)).sum(axis=1) > 0.999).all()
        assert half.fingerprint == minilm.fingerprint


class TestErrors:
    def test_a_bad_text_is_named_by_its_position(self, embedder):
        for bad, message in (
            ("rain", r"texts: got a bare str"),
            (["rain", None], r"texts\[1\]: got NoneType"),
            (["a", "b", "\ud800"], r"texts\[2\]: lone surrogate U\+D800 at character 0"),
        ):
            with pytest.raises(InvalidTextError, match=message):
                embedder.encode_queries(bad)

    @pytest.mark.parametrize("scenario", ["tools", "", None, ["qa"], 3])
    def test_an_unknown_scenario_is_answered_with_the_known_ones(self, embedder, scenario):
        for call in (embedder.encode_queries, embedder.encode_documents):
            with pytest.raises(ConfigError, match=rf"unknown scenario .*expected one of: {', '.join(SCENARIO_NAMES)}"):
                call(["x"], scenario)
        with pytest.raises(ConfigError, match=r"unknown scenario"):
            embedder.fingerprint_of(scenario)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"device": "gpu"}, r"device 'gpu' is not here; expected 'auto' or one of: cpu"),
            ({"dtype": "int8"}, r"unknown dtype 'int8'; expected one of: auto, float32, bfloat16, float16"),
            ({"engine": "onnx"}, r"unknown engine 'onnx'; expected one of: auto, transformers, packed"),
            ({"instructions": "bge"}, r"unknown instruction set 'bge'; expected one of: llm-embedder, none"),
            ({"on_truncate": "cut"}, r"on_truncate: got 'cut'; expected 'warn' or 'error'"),
        ],
    )
    def test_an_unknown_option_is_answered_with_what_there_is(self, tiny_folder, options, message):
        with pytest.raises(ConfigError, match=message):
            Embedder.load(tiny_folder, **options)

    def test_an_unknown_on_truncate_of_one_call_is_refused(self, embedder):
        with pytest.raises(ConfigError, match=r"on_truncate: got 'ignore'; expected 'warn' or 'error'"):
            embedder.encode_queries(["x"], on_truncate="ignore")


class TestTruncation:
    def test_it_is_warned_once_with_numbers_and_counted_always(self, fresh):
        with pytest.warns(TruncationWarning) as caught:
            fresh.encode_queries(["rain", "rain " * 100, "rain " * 300])
        assert len(caught) == 1
        expected = r"2 of 3 texts have more than 96 tokens (first: texts[1], longest: 310)"
        assert str(caught[0].message).startswith(expected)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fresh.encode_documents(["rain " * 100])
        assert fresh.num_truncated == 3

    def test_a_text_of_exactly_the_maximum_length_is_not_truncated(self, fresh):
        room = 96 - fresh.preview("").num_tokens
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fresh.encode_queries(["rain " * room])
        assert fresh.num_truncated == 0
        assert fresh.preview("rain " * room).num_tokens == 96

    def test_error_mode_encodes_nothing(self, fresh, monkeypatch):
        monkeypatch.setattr(fresh._engine, "encode", lambda token_ids: pytest.fail("something was encoded"))
        with pytest.raises(TextTruncatedError, match=r"1 of 2 texts have more than 96 tokens \(first: texts\[1\]"):
            fresh.encode_queries(["rain", "rain " * 100], on_truncate="error")
        assert fresh.num_truncated == 0

    def test_texts_of_several_windows_are_those_of_one_call_each(self, fresh, monkeypatch):
        texts = random_texts(150, longest=15, seed=3)
        expected = fresh.encode_documents(texts)
        monkeypatch.setattr(encoder, "_WINDOW", 40)
        held = []
        read = fresh._tokenizer.encode
        monkeypatch.setattr(fresh._tokenizer, "encode", lambda part, role: held.append(len(part)) or read(part, role))
        np.testing.assert_allclose(fresh.encode_documents(texts), expected, atol=1e-5)
        assert held == [40, 40, 40, 30]

    def test_error_mode_looks_at_every_window_first(self, fresh, monkeypatch):
        monkeypatch.setattr(encoder, "_WINDOW", 40)
        monkeypatch.setattr(fresh._engine, "encode", lambda token_ids: pytest.fail("something was encoded"))
        with pytest.raises(TextTruncatedError, match=r"first: texts\[95\]"):
            fresh.encode_documents(["rain"] * 95 + ["rain " * 100], on_truncate="error")

    def test_the_mode_of_a_call_wins_over_that_of_the_encoder(self, st_folder):
        strict = Embedder.load(st_folder, on_truncate="error")
        with pytest.raises(TextTruncatedError):
            strict.encode_documents(["rain " * 100])
        with pytest.warns(TruncationWarning):
            assert len(strict.encode_documents(["rain " * 100], on_truncate="warn")) == 1

    def test_many_threads_warn_once_and_count_everything(self, fresh):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda _: fresh.encode_queries(["rain " * 100]), range(64)))
        assert len(caught) == 1
        assert fresh.num_truncated == 64


class TestThreads:
    def test_sixteen_threads_get_the_vectors_of_one(self, embedder):
        batches = [random_texts(1 + n % 5 * 12, seed=n) for n in range(64)]
        expected = [embedder.encode_queries(batch, SCENARIO_NAMES[n % 6]) for n, batch in enumerate(batches)]
        with ThreadPoolExecutor(16) as pool:
            vectors = pool.map(lambda n: embedder.encode_queries(batches[n], SCENARIO_NAMES[n % 6]), range(64))
            for ours, theirs in zip(vectors, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_small_calls_that_wait_share_a_pass(self, fresh, monkeypatch):
        inner, sizes, started, go_on = fresh._engine.encode, [], threading.Event(), threading.Event()

        def slow(token_ids):
            sizes.append(len(token_ids))
            started.set()
            assert go_on.wait(10)
            return inner(token_ids)

        monkeypatch.setattr(fresh._engine, "encode", slow)
        with ThreadPoolExecutor(16) as pool:
            futures = [pool.submit(fresh.encode_queries, ["rain"])]
            assert started.wait(10)
            futures += [pool.submit(fresh.encode_queries, [word]) for word in WORDS]
            while len(fresh._small_calls._waiting) < len(WORDS):
                time.sleep(0.001)
            go_on.set()
        assert sizes == [1, len(WORDS)]
        monkeypatch.setattr(fresh._engine, "encode", inner)
        together = np.concatenate([future.result() for future in futures[1:]])
        np.testing.assert_allclose(together, fresh.encode_queries(WORDS), atol=1e-5)

    def test_models_can_be_loaded_from_many_threads(self, tiny_folder, embedder):
        with ThreadPoolExecutor(8) as pool:
            loaded = list(pool.map(lambda _: Embedder.load(tiny_folder), range(16)))
        assert len({each.fingerprint for each in loaded}) == 1


class TestPreview:
    def test_it_is_the_exact_text_with_its_length(self, embedder):
        preview = embedder.preview("book a flight", scenario="tool", role="query")
        assert preview.text == "Transform this user request for fetching helpful tool descriptions: book a flight"
        assert preview.num_tokens == len(preview.text.split()) + 3  # the colon, [CLS] and [SEP]
        assert (preview.max_length, preview.is_truncated) == (embedder.max_length, False)
        with pytest.raises(FrozenInstanceError):
            preview.text = ""

    def test_it_says_that_the_end_would_be_cut_without_warning_or_counting(self, fresh):
        preview = fresh.preview("rain " * 100, "qa", "document")
        assert preview.text.startswith("Represent this document for retrieval: rain")
        assert (preview.num_tokens, preview.is_truncated) == (108, True)
        assert fresh.num_truncated == 0

    def test_an_unknown_role_or_a_bad_text_is_refused(self, embedder):
        with pytest.raises(ConfigError, match=r"role: got 'passage'; expected 'query' or 'document'"):
            embedder.preview("x", role="passage")
        with pytest.raises(InvalidTextError, match=r"text: got NoneType"):
            embedder.preview(None)

    def test_tokens_are_counted_and_located_without_instruction(self, embedder):
        assert embedder.count_tokens(["the weather", ""]) == [2, 0]
        assert embedder.token_offsets("the weather") == [(0, 3), (4, 11)]


class TestFingerprint:
    def test_it_ignores_the_name_of_the_folder(self, st_folder, tmp_path):
        moved = shutil.copytree(st_folder, tmp_path / "elsewhere")
        assert Embedder.load(moved).fingerprint == Embedder.load(st_folder).fingerprint

    @pytest.mark.parametrize(
        ("file", "changes"),
        [
            ("sentence_bert_config.json", {"max_seq_length": 95}),
            ("sentence_bert_config.json", {"do_lower_case": True}),
            ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}),
        ],
    )
    def test_it_changes_with_everything_that_decides_a_vector(self, st_folder, tmp_path, file, changes):
        changed = shutil.copytree(st_folder, tmp_path / "changed")
        change_json(changed / file, **changes)
        before, after = Embedder.load(st_folder), Embedder.load(changed)
        assert before.fingerprint != after.fingerprint
        assert before.fingerprint_of("qa") != after.fingerprint_of("qa")

    def test_it_changes_with_weights_and_instructions(self, st_folder, tmp_path):
        other = make_sentence_transformer(write_plain(tmp_path / "other", seed=1), pooling="mean")
        prints = {
            Embedder.load(st_folder).fingerprint,
            Embedder.load(other).fingerprint,
            Embedder.load(st_folder, instructions="llm-embedder").fingerprint,
        }
        assert len(prints) == 3
        assert all(len(each) == 32 and int(each, 16) >= 0 for each in prints)

    def test_registering_a_scenario_changes_the_whole_but_not_the_others(self, fresh):
        whole, single = fresh.fingerprint, fresh.fingerprint_of("qa")
        fresh.register_scenario(Scenario("law", "q: ", "d: "))
        assert fresh.fingerprint != whole
        assert fresh.fingerprint_of("qa") == single
        assert len({fresh.fingerprint_of(name) for name in fresh.scenarios}) == 7


class TestScenarios:
    def test_a_registered_scenario_is_used(self, fresh):
        fresh.register_scenario(Scenario("law", "find the law: ", "a law: "))
        assert fresh.preview("x", "law").text == "find the law: x"
        assert fresh.encode_documents(["x"], "law").shape == (1, fresh.dim)

    def test_a_name_with_other_instructions_is_refused_and_the_same_ones_are_not(self, fresh):
        fresh.register_scenario(fresh.scenarios["qa"])
        with pytest.raises(ConfigError, match=r"scenario 'qa' exists with other instructions.*Nothing was changed"):
            fresh.register_scenario(Scenario("qa", "other: "))
        assert fresh.scenarios["qa"] == INSTRUCTION_SETS["llm-embedder"]["qa"]

    def test_the_mapping_is_read_only(self, fresh):
        with pytest.raises(TypeError):
            fresh.scenarios["x"] = Scenario("x")


class TestDefault:
    def test_it_finds_the_related_text(self, minilm):
        query = minilm.encode_queries(["what is the capital of france?"])
        documents = minilm.encode_documents(["Rain falls in Bergen.", "Paris is where France is governed from."])
        assert int((query @ documents.T).argmax()) == 1


def test_rows_keep_their_length_only_when_asked(tiny_folder):
    unit = Embedder.load(tiny_folder, device="cpu")
    raw = Embedder.load(tiny_folder, device="cpu", normalize=False)
    vectors = raw.encode_queries(["rain in oslo"])
    length = np.linalg.norm(vectors)
    assert abs(length - 1) > 0.01
    np.testing.assert_allclose(vectors / length, unit.encode_queries(["rain in oslo"]), atol=1e-6)
    assert raw.fingerprint != unit.fingerprint


def test_rows_of_other_lengths_are_refused_by_retrievers_and_cannot_be_saved(tiny_folder, tmp_path):
    raw = Embedder.load(tiny_folder, device="cpu", normalize=False)
    with pytest.raises(ConfigError, match="expected an Embedder loaded with normalize=True"):
        KnowledgeRetriever(raw)
    with pytest.raises(ConfigError, match="loaded with normalize=False"):
        raw.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_pooling_and_scenarios_can_be_given_at_load(tiny_folder):
    plain = Embedder.load(tiny_folder, device="cpu")
    mean = Embedder.load(
        tiny_folder, device="cpu", pooling="mean", instructions=[Scenario("qa", "query: ", "passage: ")]
    )
    assert list(mean.scenarios) == ["qa"]
    assert mean.preview("rain").text == "query: rain"
    assert not np.allclose(plain.encode_documents(["rain"]), mean.encode_documents(["rain"]))
    with pytest.raises(ConfigError, match="unknown pooling 'max'; expected one of: cls, mean, last"):
        Embedder.load(tiny_folder, pooling="max")
