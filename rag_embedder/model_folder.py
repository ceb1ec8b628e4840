"""The on-disk format of a model: Sentence-Transformers layout plus `rag_embedder.json`; also reads plain layouts.

rag_embedder.json                 format, name, training state, scenarios
modules.json                      Transformer, Pooling, Normalize
sentence_bert_config.json         max_seq_length
config_sentence_transformers.json prompts: query, document, <scenario>_query, <scenario>_document
1_Pooling/config.json             how token states become one vector
config.json, model.safetensors, tokenizer.json ...
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_embedder.errors import ConfigError, ModelLoadError, UntrustedModelError
from rag_embedder.scenario import INSTRUCTION_SETS, SCENARIO_NAMES, Scenario
from rag_embedder.tokenizer import TOKENIZER_FILES

FORMAT = 1
OUR_FILE = "rag_embedder.json"
PLAIN_MAX_LENGTH = 256
"""Tokens read by a plain folder that does not say: LLM-Embedder's setting for queries and documents."""

_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Everything but weights and tokenizer that decides a vector, and what the model is called."""

    name: str
    pooling: str
    max_length: int
    lower_case: bool
    scenarios: Mapping[str, Scenario]
    training_state: str


def read_settings(folder: Path) -> ModelSettings:
    """Settings of a model folder: ours, any Sentence-Transformers folder, or a plain Hugging Face one.

    A plain folder gets CLS pooling, at most 256 tokens and LLM-Embedder's instructions, the layout of that model's
    release. A Sentence-Transformers folder gets what its files say; without prompts there are no instructions.

    Raises:
        ModelLoadError: if a file is missing, broken or asks for something unsupported; the message names it.
        UntrustedModelError: if the weights are pickled.
    """
    config = _read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ModelLoadError(f"{folder / 'config.json'} has no model_type; expected a Hugging Face model config.")
    _check_max_length_source(folder, config)
    if not (folder / "modules.json").exists():
        return ModelSettings(
            name=folder.name,
            pooling="cls",
            max_length=min(PLAIN_MAX_LENGTH, _max_positions(config)),
            lower_case=False,
            scenarios=INSTRUCTION_SETS["llm-embedder"],
            training_state="as published",
        )
    ours = _read_json(folder / OUR_FILE) if (folder / OUR_FILE).exists() else {}
    if ours.get("format", FORMAT) != FORMAT:
        raise ModelLoadError(
            f"{folder / OUR_FILE} has format {ours['format']!r}; this version reads {FORMAT}. Upgrade."
        )
    transformer = _optional_json(folder / "sentence_bert_config.json")
    return ModelSettings(
        name=ours.get("name", folder.name),
        pooling=_read_pooling(folder),
        max_length=_st_max_length(folder, transformer, config),
        lower_case=bool(transformer.get("do_lower_case", False)),
        scenarios=_read_scenarios(folder, ours),
        training_state=ours.get("training_state", "as published"),
    )


def check_weights(folder: Path, *, allow_pickle: bool) -> None:
    """Make sure that there are weights of a kind we read.

    Raises:
        ModelLoadError: if there are none.
        UntrustedModelError: if there are only pickled ones and `allow_pickle` is off.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if not pickled:
        raise ModelLoadError(f"no weights in {folder}: expected model.safetensors.")
    if not allow_pickle:
        raise UntrustedModelError(
            f"{folder} has only pickled weights ({pickled[0]}), which can run code when read; expected "
            "model.safetensors. Convert them, or pass allow_pickle=True if you trust the file (it is then read with "
            "torch's weights-only loader)."
        )


def write_folder(
    target: Path,
    settings: ModelSettings,
    *,
    source: Path,
    dim: int,
    write_weights: Callable[[Path], None],
) -> None:
    """Write a complete folder beside `target` and move it into place: a kill leaves the old state or the new one.

    `source` gives config.json and the tokenizer; `write_weights` is called with the path of model.safetensors.

    Raises:
        ConfigError: if `target` exists and is not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"{target} already exists and is not an empty folder; expected a new path. Nothing was written."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name in ("config.json", *TOKENIZER_FILES):
            if (source / name).exists():
                shutil.copyfile(source / name, temporary / name)
        _write_sentence_transformers_files(temporary, settings, dim)
        write_weights(temporary / "model.safetensors")
        temporary.chmod(0o755)
        if target.exists():
            target.rmdir()
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_sentence_transformers_files(folder: Path, settings: ModelSettings, dim: int) -> None:
    # Module types and keys of Sentence-Transformers 2: every later version reads them too.
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
    )
    _write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": settings.max_length, "do_lower_case": settings.lower_case},
    )
    pooling = {flag: settings.pooling == name for flag, name in _POOLING_FLAGS.items()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dim, **pooling})
    (folder / "2_Normalize").mkdir()
    _write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": prompts_of(settings.scenarios),
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    _write_json(
        folder / OUR_FILE,
        {
            "format": FORMAT,
            "name": settings.name,
            "training_state": settings.training_state,
            "scenarios": {
                scenario.name: {"query": scenario.query_instruction, "document": scenario.document_instruction}
                for scenario in settings.scenarios.values()
            },
        },
    )


def prompts_of(scenarios: Mapping[str, Scenario]) -> dict[str, str]:
    """Sentence-Transformers prompts: `<scenario>_query`, `<scenario>_document`, and `query`, `document` for "qa"."""
    prompts = {}
    default = scenarios.get("qa") or next(iter(scenarios.values()))
    prompts["query"] = default.query_instruction
    prompts["document"] = default.document_instruction
    for scenario in scenarios.values():
        prompts[f"{scenario.name}_query"] = scenario.query_instruction
        prompts[f"{scenario.name}_document"] = scenario.document_instruction
    return prompts


def _read_scenarios(folder: Path, ours: dict[str, Any]) -> Mapping[str, Scenario]:
    if "scenarios" in ours:
        try:
            return {name: Scenario(name, pair["query"], pair["document"]) for name, pair in ours["scenarios"].items()}
        except (AttributeError, KeyError, TypeError, ConfigError) as error:
            raise ModelLoadError(
                f"{folder / OUR_FILE}: scenarios must map a name to its query and document instruction ({error!r})."
            ) from error
    prompts = _optional_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    query = prompts.get("query", "")
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    scenarios = {name: Scenario(name, query, document) for name in SCENARIO_NAMES}
    for prompt_name in prompts:
        name = prompt_name.removesuffix("_query")
        if name != prompt_name and f"{name}_document" in prompts:
            scenarios[name] = Scenario(name, prompts[prompt_name], prompts[f"{name}_document"])
    return scenarios


def _read_pooling(folder: Path) -> str:
    pooling = "mean"
    for module in _read_json(folder / "modules.json", expected=list):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise ModelLoadError(
                f"{folder / 'modules.json'} has a module of type {module.get('type')!r}; expected only Transformer, "
                "Pooling and Normalize."
            )
        if kind == "Pooling":
            pooling = _pooling_name(folder / module["path"] / "config.json")
    return pooling


def _pooling_name(path: Path) -> str:
    config = _read_json(path)
    if config.get("include_prompt", True) is False:
        raise ModelLoadError(f"{path} leaves the prompt out of pooling (include_prompt false), which is not supported.")
    wanted = config.get("pooling_mode")
    modes = (
        [wanted]
        if isinstance(wanted, str)
        else [flag for flag, on in config.items() if on is True and flag.startswith("pooling_mode_")]
    )
    names = [{"lasttoken": "last"}.get(mode, _POOLING_FLAGS.get(mode, mode)) for mode in modes]
    if len(names) != 1 or names[0] not in _POOLING_FLAGS.values():
        raise ModelLoadError(
            f"{path} asks for pooling {', '.join(modes) or 'nothing'}; expected cls, mean or last token."
        )
    return names[0]


def _st_max_length(folder: Path, transformer: dict[str, Any], config: dict[str, Any]) -> int:
    stated = transformer.get("max_seq_length") or _optional_json(folder / "tokenizer_config.json").get(
        "model_max_length"
    )
    positions = _max_positions(config)
    return min(int(stated), positions) if isinstance(stated, (int, float)) and stated > 0 else positions


def _max_positions(config: dict[str, Any]) -> int:
    positions = int(config.get("max_position_embeddings") or 512)
    # RoBERTa's family counts positions from the padding id + 1, so its table is that much longer than its input.
    if config["model_type"] in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= int(config.get("pad_token_id", 1)) + 1
    return positions


def _check_max_length_source(folder: Path, config: dict[str, Any]) -> None:
    positions = config.get("max_position_embeddings")
    if positions is not None and (not isinstance(positions, int) or positions < 8):
        raise ModelLoadError(
            f"{folder / 'config.json'}: max_position_embeddings is {positions!r}; expected an int of at least 8."
        )


def _optional_json(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.exists() else {}


def _read_json(path: Path, expected: type = dict) -> Any:  # noqa: ANN401  (JSON)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelLoadError(
            f"{path} is missing; expected a Hugging Face or Sentence-Transformers model folder."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, expected):
        raise ModelLoadError(f"{path} holds {type(content).__name__}; expected {expected.__name__}.")
    return content


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
