"""Which settings are read from which layout, and which folders are refused."""

import pytest

from rag_embedder.errors import ModelLoadError
from rag_embedder.model_folder import read_settings
from rag_embedder.model_folder.checksums import checksums_of, verify_checksums
from rag_embedder.scenario import INSTRUCTION_SETS, SCENARIO_NAMES
from tests.tiny_models import change_json, make_sentence_transformer, write_json


@pytest.fixture
def folder(tmp_path):
    """A plain folder without weights or tokenizer: settings need neither."""
    write_json(tmp_path / "config.json", {"model_type": "bert", "max_position_embeddings": 128, "pad_token_id": 0})
    return tmp_path


def test_a_plain_folder_gets_the_layout_of_llm_embedder(folder):
    change_json(folder / "config.json", max_position_embeddings=512)
    settings = read_settings(folder)
    assert (settings.pooling, settings.max_length, settings.lower_case) == ("cls", 256, False)
    assert settings.scenarios == INSTRUCTION_SETS["llm-embedder"]
    assert settings.name == folder.name


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_position_embeddings": 128}, 128),
        ({"max_position_embeddings": None}, 256),
        ({"model_type": "roberta", "max_position_embeddings": 130, "pad_token_id": 1}, 128),
        ({"model_type": "mpnet", "max_position_embeddings": 130, "pad_token_id": 1}, 128),
        ({"model_type": "distilbert", "max_position_embeddings": 128}, 128),
    ],
)
def test_a_plain_folder_reads_no_more_tokens_than_it_has_positions(folder, changes, expected):
    change_json(folder / "config.json", **changes)
    assert read_settings(folder).max_length == expected


def test_a_null_padding_id_counts_as_the_usual_one(folder):
    write_json(folder / "config.json", {"model_type": "roberta", "max_position_embeddings": 130, "pad_token_id": None})
    assert read_settings(folder).max_length == 128


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_pooling_is_read_from_version_2_flags(folder, pooling):
    assert read_settings(make_sentence_transformer(folder, pooling=pooling)).pooling == pooling


@pytest.mark.parametrize(("mode", "pooling"), [("cls", "cls"), ("mean", "mean"), ("lasttoken", "last")])
@pytest.mark.parametrize("as_list", [False, True])
def test_pooling_is_read_from_a_version_6_mode(folder, mode, pooling, as_list):
    make_sentence_transformer(folder)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": [mode] if as_list else mode})
    assert read_settings(folder).pooling == pooling


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"pooling_mode": "max"}, "asks for pooling max; expected one of cls, mean, lasttoken"),
        ({"pooling_mode": ["cls", "mean"]}, r"asks for pooling cls \+ mean"),
        ({"pooling_mode_max_tokens": True}, "asks for pooling pooling_mode_max_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, r"cls_token \+ pooling_mode_mean"),
        ({}, "asks for pooling nothing"),
        ({"pooling_mode": "mean", "include_prompt": False}, "include_prompt false.*not supported"),
    ],
)
def test_an_unsupported_pooling_is_refused_with_its_file(folder, config, what):
    make_sentence_transformer(folder)
    write_json(folder / "1_Pooling" / "config.json", config)
    with pytest.raises(ModelLoadError, match=rf"1_Pooling/config.json .*{what}"):
        read_settings(folder)


@pytest.mark.parametrize(
    ("modules", "what"),
    [
        ([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")], r"module of type 'x\.Dense'"),
        ([("", "Transformer"), ("1_Pooling", "Pooling"), ("1_Pooling", "Pooling")], "2 Pooling modules"),
        ([("", "Transformer")], "0 Pooling modules; expected exactly one"),
        ([("0_Transformer", "Transformer"), ("1_Pooling", "Pooling")], "keeps its Transformer in '0_Transformer'"),
    ],
)
def test_unsupported_modules_are_refused(folder, modules, what):
    make_sentence_transformer(folder)
    write_json(folder / "modules.json", [{"path": path, "type": f"x.{kind}"} for path, kind in modules])
    with pytest.raises(ModelLoadError, match=rf"modules.json .*{what}"):
        read_settings(folder)


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"type": "x.Pooling"}]', "", "[" * 100_000])
def test_broken_modules_are_refused(folder, content):
    (folder / "modules.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"modules.json"):
        read_settings(folder)


def test_max_length_is_the_stated_one_but_never_more_than_the_positions(folder):
    assert read_settings(make_sentence_transformer(folder, max_length=64)).max_length == 64
    change_json(folder / "sentence_bert_config.json", max_seq_length=512)
    assert read_settings(folder).max_length == 128


@pytest.mark.parametrize(("stated", "expected"), [(96, 96), (512, 128), (1e30, 128), (10**30, 128), (None, 128)])
def test_max_length_of_version_6_is_the_tokenizers(folder, stated, expected):
    make_sentence_transformer(folder)
    write_json(folder / "sentence_bert_config.json", {"transformer_task": "feature-extraction"})
    write_json(folder / "tokenizer_config.json", {} if stated is None else {"model_max_length": stated})
    assert read_settings(folder).max_length == expected


def test_the_transformer_config_may_be_named_after_its_architecture(folder):
    make_sentence_transformer(folder)
    (folder / "sentence_bert_config.json").rename(folder / "sentence_roberta_config.json")
    change_json(folder / "sentence_roberta_config.json", max_seq_length=40, do_lower_case=True)
    settings = read_settings(folder)
    assert (settings.max_length, settings.lower_case) == (40, True)


@pytest.mark.parametrize("stated", [0, -1, 3, "64", 64.5, True])
def test_a_senseless_length_is_refused(folder, stated):
    make_sentence_transformer(folder)
    change_json(folder / "sentence_bert_config.json", max_seq_length=stated)
    with pytest.raises(ModelLoadError, match=r"sentence_bert_config.json: max_seq_length is .*expected an int"):
        read_settings(folder)


@pytest.mark.parametrize("positions", [0, "512", 2.5, [512]])
def test_a_senseless_position_table_is_refused(folder, positions):
    change_json(folder / "config.json", max_position_embeddings=positions)
    with pytest.raises(ModelLoadError, match=r"config.json: max_position_embeddings is .*expected an int"):
        read_settings(folder)


def test_prompts_become_the_instructions_of_every_scenario(folder):
    make_sentence_transformer(folder, prompts={"query": "q: ", "document": "d: "})
    scenarios = read_settings(folder).scenarios
    assert tuple(scenarios) == SCENARIO_NAMES
    assert {(each.query_instruction, each.document_instruction) for each in scenarios.values()} == {("q: ", "d: ")}


def test_prompts_of_one_scenario_win_and_new_names_are_added(folder):
    prompts = {"query": "q: ", "tool_query": "tq: ", "tool_document": "td: ", "law_query": "lq", "law_document": "ld"}
    make_sentence_transformer(folder, prompts={**prompts, "clustering_query": "no document"})
    scenarios = read_settings(folder).scenarios
    assert scenarios["tool"].query_instruction == "tq: "
    assert scenarios["law"].document_instruction == "ld"
    assert scenarios["qa"].document_instruction == ""
    assert set(scenarios) == {*SCENARIO_NAMES, "law"}


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_the_document_prompt_may_have_any_of_its_three_names(folder, name):
    make_sentence_transformer(folder, prompts={"query": "q: ", name: "d: "})
    assert read_settings(folder).scenarios["qa"].document_instruction == "d: "


def test_no_prompts_mean_no_instructions(folder):
    assert read_settings(make_sentence_transformer(folder)).scenarios == INSTRUCTION_SETS["none"]


@pytest.mark.parametrize("prompts", [["q"], {"query": None}, {"query": 3}, {"a b_query": "x", "a b_document": "y"}])
def test_senseless_prompts_are_refused(folder, prompts):
    make_sentence_transformer(folder)
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    with pytest.raises(ModelLoadError, match=r"config_sentence_transformers.json: prompt"):
        read_settings(folder)


@pytest.mark.parametrize(
    "scenarios", [{}, [], 3, {"qa": {}}, {"qa": {"query": "q"}}, {"qa": {"query": None, "document": ""}}, {"a b": {}}]
)
def test_senseless_scenarios_of_our_own_file_are_refused(folder, scenarios):
    make_sentence_transformer(folder)
    write_json(folder / "rag_embedder.json", {"format": 1, "scenarios": scenarios})
    with pytest.raises(ModelLoadError, match=r"rag_embedder.json: scenarios"):
        read_settings(folder)


def test_a_newer_format_asks_for_an_upgrade(folder):
    make_sentence_transformer(folder)
    write_json(folder / "rag_embedder.json", {"format": 3})
    with pytest.raises(ModelLoadError, match=r"has format 3; this version reads 1 and 2. Upgrade"):
        read_settings(folder)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "is missing; expected a Hugging Face"),
        ("", "cannot be read as JSON"),
        ("[]", "holds list; expected dict"),
        ("{}", "has no model_type"),
        ('{"model_type": "t5", "is_encoder_decoder": true}', "t5 is an encoder-decoder; expected an encoder"),
    ],
)
def test_a_broken_config_is_refused_with_its_path(folder, content, what):
    if content is None:
        (folder / "config.json").unlink()
    else:
        (folder / "config.json").write_text(content)
    with pytest.raises(ModelLoadError, match=rf"{folder.name}/config.json.*{what}"):
        read_settings(folder)


def test_an_adapter_is_refused_with_the_remedy(folder):
    write_json(folder / "adapter_config.json", {"peft_type": "LORA"})
    with pytest.raises(ModelLoadError, match=r"PEFT adapter.*merge_and_unload"):
        read_settings(folder)


def test_checksums_find_a_changed_or_missing_file_and_ignore_others(folder):
    (folder / "vocab.txt").write_text("a\nb")
    (folder / "README.md").write_text("not part of the model")
    recorded = checksums_of(folder)
    assert sorted(recorded) == ["config.json", "vocab.txt"]
    (folder / "README.md").write_text("changed")
    verify_checksums(folder, {**recorded, "../elsewhere": "0"}, recorded_in="rag_embedder.json")
    (folder / "vocab.txt").write_text("a\nc")
    with pytest.raises(ModelLoadError, match=r"vocab.txt has sha256 .*damaged or changed"):
        verify_checksums(folder, recorded, recorded_in="rag_embedder.json")
    (folder / "vocab.txt").unlink()
    with pytest.raises(ModelLoadError, match=r"vocab.txt is missing"):
        verify_checksums(folder, recorded, recorded_in="rag_embedder.json")
