"""What is written on the command line becomes the system that is meant."""

import numpy as np
import pytest
import torch

from evals.systems import WITHOUT_ENCODER
from evals.systems.presets import PRESETS
from evals.systems.specification import open_system, open_systems
from evals.vector_cache import VectorCache
from rag_embedder.engine import packed
from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_source import KNOWN_PROMPT_FORMS
from rag_embedder.scenario import SCENARIO_NAMES
from tests.tiny_decoders import SLOTS, write_decoder


@pytest.mark.parametrize("name", list(WITHOUT_ENCODER))
def test_systems_without_a_model_open_by_name(name):
    assert open_system(name).name == name


def test_a_folder_is_an_encoder_with_the_settings_of_its_files(tiny_folder):
    system = open_system(str(tiny_folder))
    assert system.name == str(tiny_folder)
    assert system.describe()["pooling"] == "as the model's files say"
    assert system.describe()["score"] == "cosine"


def test_options_change_what_is_encoded(tiny_folder):
    plain, mean, raw = (
        open_system(f"{tiny_folder}{options}")
        for options in ("", "?pooling=mean&instructions=none", "?normalize=false")
    )
    assert len({plain.fingerprint, mean.fingerprint, raw.fingerprint}) == 3
    assert mean.describe() | {"pooling": "mean", "instructions": "none"} == mean.describe()
    assert raw.describe()["score"] == "inner product"


def test_another_engine_or_number_format_is_another_system(tiny_folder):
    plain = open_system(f"{tiny_folder}?engine=transformers&dtype=float32")
    others = [
        open_system(f"{tiny_folder}?{options}")
        for options in ("dtype=float32", "dtype=bfloat16", "engine=transformers&dtype=bfloat16")
    ]
    assert len({system.fingerprint for system in [plain, *others]}) == 4
    assert open_system(f"{tiny_folder}?engine=packed&dtype=float32").fingerprint == others[0].fingerprint
    assert "engine" not in plain.describe()
    assert others[1].describe() | {"engine": "packed", "dtype": "bfloat16"} == others[1].describe()


def test_auto_is_the_number_format_that_it_chose(tiny_folder, monkeypatch):
    for chosen in ("float32", "bfloat16"):
        monkeypatch.setattr(packed, "fastest_dtype", lambda device, found=chosen: getattr(torch, found))
        automatic = open_system(f"{tiny_folder}?engine=packed&dtype=auto")
        assert automatic.fingerprint == open_system(f"{tiny_folder}?engine=packed&dtype={chosen}").fingerprint
        assert automatic.describe()["dtype"] == chosen


def test_cached_vectors_of_engines_do_not_mix(tiny_folder, tmp_path):
    cache = VectorCache(tmp_path)
    texts = ["rain in oslo", "a dog and a cat play in the house"]
    rows = {}
    exact = "?engine=transformers&dtype=float32"
    for options in (exact, "?engine=packed&dtype=bfloat16", "?engine=packed&dtype=float32"):
        encoder = open_system(f"{tiny_folder}{options}")._encoder
        for role, encode in (("query", encoder.encode_queries), ("document", encoder.encode_documents)):
            rows[options, role] = cache.encode(encoder, texts, scenario="qa", role=role)
            np.testing.assert_allclose(rows[options, role], encode(texts, "qa"), atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 6
    difference = abs(rows[exact, "query"] - rows["?engine=packed&dtype=bfloat16", "query"]).max()
    assert 1e-5 < difference < 0.02


def test_a_query_that_does_not_fit_is_known_with_another_engine_too(tiny_folder):
    encoder = open_system(f"{tiny_folder}?engine=packed")._encoder
    plain = open_system(str(tiny_folder))._encoder
    assert encoder.preview("rain " * 200, "qa", "query") == plain.preview("rain " * 200, "qa", "query")
    assert encoder.token_offsets("rain in oslo") == plain.token_offsets("rain in oslo") == [(0, 4), (5, 7), (8, 12)]
    assert (encoder.name, encoder.dim, encoder.max_length) == (plain.name, plain.dim, plain.max_length)


def test_a_label_names_the_system_and_does_not_change_it(tiny_folder):
    labelled = open_system(f"mine={tiny_folder}?pooling=mean")
    assert labelled.name == "mine"
    assert labelled.fingerprint == open_system(f"{tiny_folder}?pooling=mean").fingerprint


def test_hybrid_wraps_any_system(tiny_folder):
    assert open_system(f"hybrid:{tiny_folder}").name == f"hybrid:{tiny_folder}"
    assert open_system(f"both=hybrid:{tiny_folder}").name == "both"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("?poling=mean", "unknown option of a system 'poling'; expected one of: .* Did you mean 'pooling'"),
        ("?pooling=max", "unknown pooling 'max'"),
        ("?normalize=no", "normalize: got 'no'; expected true or false"),
        ("?library=onnx", "unknown library 'onnx'"),
        ("?engine=fast", "unknown engine 'fast'; expected one of: auto, transformers, packed"),
        ("?engine=packed&dtype=int8", "unknown dtype 'int8'; expected one of: auto"),
        ("?library=sentence-transformers&engine=packed", "engine=packed, dtype=auto: .*expected neither"),
        ("?instructions=bge", "unknown instruction set 'bge'"),
    ],
)
def test_an_option_that_is_wrong_is_answered_with_the_right_ones(tiny_folder, options, message):
    with pytest.raises(ConfigError, match=message):
        open_system(f"{tiny_folder}{options}")


def test_what_is_neither_a_name_nor_a_model_is_refused():
    with pytest.raises(ModelLoadError, match="'bm52' is not a hub id"):
        open_system("bm52")


def test_two_systems_of_one_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="bm25 is named twice"):
        open_systems(["bm25", "bm25"], cache=VectorCache(tmp_path))


def test_every_preset_speaks_all_six_scenarios():
    for preset in PRESETS.values():
        if not isinstance(preset.instructions, str | None):
            assert tuple(scenario.name for scenario in preset.instructions) == SCENARIO_NAMES
    assert PRESETS["bge-base"].instructions[0].query_instruction == (
        "Represent this sentence for searching relevant passages: "
    )


def test_the_base_preset_is_the_model_at_hand(minilm):
    assert open_system("minilm").fingerprint != open_system("default").fingerprint
    assert open_system("default").describe()["model"] == minilm.name


def test_sentence_transformers_gives_the_vectors_of_our_own_path(embedder, tmp_path):
    folder = tmp_path / "saved"
    embedder.save(folder)
    from evals.systems.sentence_transformer import SentenceTransformerEncoder

    theirs = SentenceTransformerEncoder(str(folder), instructions="llm-embedder", device="cpu")
    for scenario in ("qa", "tool"):
        assert (
            abs(
                theirs.encode_queries(["rain in oslo"], scenario) - embedder.encode_queries(["rain in oslo"], scenario)
            ).max()
            < 1e-5
        )
        assert (
            abs(theirs.encode_documents(["rain"], scenario) - embedder.encode_documents(["rain"], scenario)).max()
            < 1e-5
        )
    assert theirs.fingerprint_of("qa") != theirs.fingerprint_of("tool")


@pytest.mark.parametrize(
    ("preset", "form"),
    [("llara-passage", "llara"), ("llara-document", "llara"), ("llara-beir", "llara"), ("repllama", "repllama")],
)
def test_presets_of_decoders_are_models_with_a_known_form(preset, form):
    assert KNOWN_PROMPT_FORMS[PRESETS[preset].model] == form


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_decoders_prompt_form_can_be_named_and_is_told(tmp_path, dtype):
    folder = write_decoder(tmp_path / "model", slots=SLOTS)
    systems = [open_system(f"{folder}?dtype={dtype}&prompt_form={name}") for name in ("llara", "repllama")]
    assert [system.describe()["prompt form"] for system in systems] == ["llara", "repllama"]
    assert systems[0].fingerprint != systems[1].fingerprint
    with pytest.raises(ConfigError, match="unknown prompt form 'lara'"):
        open_system(f"{folder}?prompt_form=lara")
