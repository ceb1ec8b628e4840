"""Everything but weights and tokenizer that decides a vector, read from a folder of any of three layouts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_folder.delta_header import DELTA_HEADER, read_delta_header
from rag_embedder.model_folder.json_files import read_json, read_optional_json
from rag_embedder.model_folder.max_length import checked_length, max_positions, stated_length
from rag_embedder.model_folder.modules import POOLING_NAMES, read_pooling
from rag_embedder.model_folder.scenario_pairs import scenarios_of
from rag_embedder.prompt_form import PromptForm, form_from_json
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import INSTRUCTION_SETS, SCENARIO_NAMES, Scenario

FORMAT = 1
FORMAT_WITH_FORM = 2
"""Of a folder with a prompt form: earlier versions refuse it, instead of giving other vectors."""
OUR_FILE = "rag_embedder.json"
PLAIN_MAX_LENGTH = 256
"""Tokens read by a plain folder that does not say: LLM-Embedder's setting for queries and documents."""
DECODER_MAX_LENGTH = 512
"""The same for a decoder: what RepLLaMA and LLaRA are evaluated with."""

_DECODERS = ("gemma", "gemma2", "gpt2", "gpt_neox", "llama", "mistral", "olmo2", "opt", "phi3", "qwen2", "qwen3")
"""Model types that read from left to right, where config.json does not say so by its architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Everything but weights and tokenizer that decides a vector, and what the model is called.

    With a prompt form, its slots are pooled, and `pooling` is "last".
    """

    name: str
    pooling: str
    max_length: int
    lower_case: bool
    scenarios: Mapping[str, Scenario]
    training_state: str
    prompt_form: PromptForm | None = None

    @property
    def num_slots(self) -> int:
        """Over how many last states a vector is the mean."""
        return 1 if self.prompt_form is None else self.prompt_form.num_slots

    def with_reading(
        self, *, pooling: str | None = None, prompt_form: str | PromptForm | None = None
    ) -> "ModelSettings":
        """These settings with another pooling or prompt form, where one is given.

        A pooling alone takes the prompt form away, unless it is "last".

        Raises:
            ConfigError: for an unknown name, or a form with a pooling other than "last".
        """
        if pooling is not None and pooling not in POOLING_NAMES:
            raise unknown_name("pooling", pooling, list(POOLING_NAMES))
        if prompt_form is None:
            keeps = pooling in (None, "last")
            return replace(self, pooling=pooling or self.pooling, prompt_form=self.prompt_form if keeps else None)
        form = PromptForm.named(prompt_form)
        if pooling not in (None, "last"):
            raise ConfigError(
                f"pooling: got {pooling!r} with prompt form {form.name!r}; expected 'last' or none: a form "
                "pools its slots."
            )
        return replace(self, pooling="last", prompt_form=form)


def read_settings(folder: Path, *, delta: Path | None = None) -> ModelSettings:
    """Settings of a model folder: ours, any Sentence-Transformers folder, or a plain Hugging Face one.

    Those that a `delta` folder states take the place of its base's.

    A plain folder gets CLS pooling, at most 256 tokens and LLM-Embedder's instructions, the layout of that model's
    release; a plain decoder gets the prompt form "eos", at most 512 tokens and no instructions. A
    Sentence-Transformers folder gets what its files say; without prompts there are no instructions.

    Raises:
        ModelLoadError: if a file is missing, broken or asks for something unsupported; the message names it.
    """
    config = _read_config(folder)
    positions = max_positions(folder, config)
    settings = _read_whole(folder, positions, is_decoder=_is_decoder(config))
    return settings if delta is None else _with_delta(settings, delta, positions)


def _read_whole(folder: Path, positions: int, *, is_decoder: bool) -> ModelSettings:
    ours = read_optional_json(folder / OUR_FILE)
    if ours.get("format", FORMAT) not in (FORMAT, FORMAT_WITH_FORM):
        raise ModelLoadError(
            f"{folder / OUR_FILE} has format {ours['format']!r}; this version reads {FORMAT} and {FORMAT_WITH_FORM}. "
            "Upgrade."
        )
    if ours.get("format") == FORMAT_WITH_FORM:
        return _read_prompted(folder / OUR_FILE, ours, positions)
    if not (folder / "modules.json").exists():
        return ModelSettings(
            name=folder.name,
            pooling="last" if is_decoder else "cls",
            max_length=min(DECODER_MAX_LENGTH if is_decoder else PLAIN_MAX_LENGTH, positions),
            lower_case=False,
            scenarios=INSTRUCTION_SETS["none" if is_decoder else "llm-embedder"],
            training_state="as published",
            prompt_form=PromptForm.named("eos") if is_decoder else None,
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


def _read_prompted(path: Path, ours: Mapping[str, Any], positions: int) -> ModelSettings:
    """All from our own file: not every prompt form can be said in Sentence-Transformers' ones."""
    try:
        form = form_from_json(ours.get("prompt_form"))
    except ConfigError as error:
        raise ModelLoadError(f"{path}: prompt_form: {error} Copy the whole folder again.") from error
    return ModelSettings(
        name=str(ours.get("name", path.parent.name)),
        pooling="last",
        max_length=min(checked_length(ours.get("max_length"), path, "max_length"), positions),
        lower_case=ours.get("lower_case") is True,
        scenarios=scenarios_of(ours.get("scenarios"), path),
        training_state=str(ours.get("training_state", "as published")),
        prompt_form=form,
    )


def _is_decoder(config: Mapping[str, Any]) -> bool:
    named = config.get("architectures")
    names = named if isinstance(named, list) else []
    return config["model_type"] in _DECODERS or any(str(name).endswith("ForCausalLM") for name in names)


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
