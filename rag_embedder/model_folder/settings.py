"""Everything but weights and tokenizer that decides a vector, read from a folder of any of three layouts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_folder.delta_header import DELTA_HEADER, read_delta_header
from rag_embedder.model_folder.json_files import read_json, read_optional_json
from rag_embedder.model_folder.max_length import max_positions, stated_length
from rag_embedder.model_folder.modules import read_pooling
from rag_embedder.model_folder.scenario_pairs import scenarios_of
from rag_embedder.scenario import INSTRUCTION_SETS, SCENARIO_NAMES, Scenario

FORMAT = 1
OUR_FILE = "rag_embedder.json"
PLAIN_MAX_LENGTH = 256
"""Tokens read by a plain folder that does not say: LLM-Embedder's setting for queries and documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Everything but weights and tokenizer that decides a vector, and what the model is called."""

    name: str
    pooling: str
    max_length: int
    lower_case: bool
    scenarios: Mapping[str, Scenario]
    training_state: str


def read_settings(folder: Path, *, delta: Path | None = None) -> ModelSettings:
    """Settings of a model folder: ours, any Sentence-Transformers folder, or a plain Hugging Face one.

    Those that a `delta` folder states take the place of its base's.

    A plain folder gets CLS pooling, at most 256 tokens and LLM-Embedder's instructions, the layout of that model's
    release. A Sentence-Transformers folder gets what its files say; without prompts there are no instructions.

    Raises:
        ModelLoadError: if a file is missing, broken or asks for something unsupported; the message names it.
    """
    config = _read_config(folder)
    positions = max_positions(folder, config)
    settings = _read_whole(folder, positions)
    return settings if delta is None else _with_delta(settings, delta, positions)


def _read_whole(folder: Path, positions: int) -> ModelSettings:
    if not (folder / "modules.json").exists():
        return ModelSettings(
            name=folder.name,
            pooling="cls",
            max_length=min(PLAIN_MAX_LENGTH, positions),
            lower_case=False,
            scenarios=INSTRUCTION_SETS["llm-embedder"],
            training_state="as published",
        )
    ours = read_optional_json(folder / OUR_FILE)
    if ours.get("format", FORMAT) != FORMAT:
        raise ModelLoadError(
            f"{folder / OUR_FILE} has format {ours['format']!r}; this version reads {FORMAT}. Upgrade."
        )
    transformer = _read_transformer(folder)
    return ModelSettings(
        name=str(ours.get("name", folder.name)),
        pooling=read_pooling(folder),
        max_length=stated_length(folder, transformer, positions),
        lower_case=bool(transformer.get("do_lower_case", False)),
        scenarios=scenarios_of(ours["scenarios"], folder / OUR_FILE)
        if "scenarios" in ours
        else _prompt_scenarios(folder),
        training_state=str(ours.get("training_state", "as published")),
    )


def _with_delta(settings: ModelSettings, delta: Path, positions: int) -> ModelSettings:
    header = read_delta_header(delta)
    if header.max_length > positions:
        raise ModelLoadError(
            f"{delta / DELTA_HEADER}: max_length is {header.max_length}; expected at most {positions}, the positions "
            f"of {header.base}."
        )
    return replace(
        settings,
        name=header.name,
        pooling=header.pooling,
        max_length=header.max_length,
        scenarios=header.scenarios,
        training_state=header.training_state,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    if (folder / "adapter_config.json").exists():
        raise ModelLoadError(
            f"{folder} holds a PEFT adapter (adapter_config.json); expected whole weights. Merge it into its base "
            "model with merge_and_unload() and save that."
        )
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ModelLoadError(f"{folder / 'config.json'} has no model_type; expected a Hugging Face model config.")
    if config.get("is_encoder_decoder") is True:
        raise ModelLoadError(
            f"{folder / 'config.json'}: {config['model_type']} is an encoder-decoder; expected an encoder (BERT-like)."
        )
    return config


def _read_transformer(folder: Path) -> dict[str, Any]:
    # Old releases named the file after the architecture: sentence_roberta_config.json and so on.
    path = next(iter(sorted(folder.glob("sentence_*_config.json"))), None)
    return {} if path is None else read_json(path)


def _prompt_scenarios(folder: Path) -> Mapping[str, Scenario]:
    """`query` and `document` become the instructions of every scenario, `<name>_query` and `<name>_document` of one."""
    path = folder / "config_sentence_transformers.json"
    prompts = read_optional_json(path).get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ModelLoadError(f"{path}: prompts must map names to texts.")
    query = prompts.get("query", "")
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    scenarios = {name: Scenario(name, query, document) for name in SCENARIO_NAMES}
    for prompt_name in prompts:
        name = prompt_name.removesuffix("_query")
        if name != prompt_name and f"{name}_document" in prompts:
            try:
                scenarios[name] = Scenario(name, prompts[prompt_name], prompts[f"{name}_document"])
            except ConfigError as error:
                raise ModelLoadError(f"{path}: prompt {prompt_name!r}: {error}") from error
    return scenarios
