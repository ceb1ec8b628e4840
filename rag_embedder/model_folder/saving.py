"""Writes a complete model folder that `Embedder.load` and plain Sentence-Transformers read."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from rag_embedder.model_folder.checksums import checksums_of
from rag_embedder.model_folder.json_files import read_json, write_json
from rag_embedder.model_folder.modules import POOLING_FLAGS
from rag_embedder.model_folder.new_folder import new_folder
from rag_embedder.model_folder.scenario_pairs import pairs_of
from rag_embedder.model_folder.settings import FORMAT, FORMAT_WITH_FORM, OUR_FILE, ModelSettings
from rag_embedder.prompt_form import form_to_json
from rag_embedder.scenario import Scenario
from rag_embedder.tokenizer import TOKENIZER_FILES

_NOT_COPIED = (
    "auto_map",  # names code files that are not copied
    "_attn_implementation",
    "_attn_implementation_internal",
    "attn_implementation",
    "torch_dtype",
    "transformers_weights",
)
"""Keys of config.json that are about how the source was stored or run, not about the model."""


def write_folder(
    target: Path,
    settings: ModelSettings,
    *,
    source: Path,
    dim: int,
    write_weights: Callable[[Path], None],
    tokenizer: Path | None = None,
    tokenizer_adds_form: bool = True,
    vocabulary_size: int | None = None,
) -> None:
    """Write a complete folder.

    `source` gives config.json and, unless `tokenizer` names another folder, the tokenizer; `write_weights` is called
    with the path of model.safetensors. Where the tokenizer does not put the prompt form around texts by itself,
    Sentence-Transformers' files are left out: with them it would read other tokens than these. `vocabulary_size` is
    for config.json, where the embedding table is not the source's.

    Raises:
        ConfigError: if `target` exists and is not an empty folder.
    """
    with new_folder(target) as temporary:
        for name in TOKENIZER_FILES:
            if ((tokenizer or source) / name).exists():
                shutil.copyfile((tokenizer or source) / name, temporary / name)
        _write_config(source, temporary, {} if vocabulary_size is None else {"vocab_size": vocabulary_size})
        if settings.prompt_form is None or tokenizer_adds_form:
            _write_sentence_transformers_files(temporary, settings, dim)
        write_weights(temporary / "model.safetensors")
        _write_our_file(temporary, settings)


def prompts_of(scenarios: Mapping[str, Scenario]) -> dict[str, str]:
    """Sentence-Transformers prompts: `<scenario>_query`, `<scenario>_document`, and `query`, `document` for "qa"."""
    default = scenarios.get("qa") or next(iter(scenarios.values()))
    prompts = {"query": default.query_instruction, "document": default.document_instruction}
    for scenario in scenarios.values():
        prompts[f"{scenario.name}_query"] = scenario.query_instruction
        prompts[f"{scenario.name}_document"] = scenario.document_instruction
    return prompts


def _prompts(settings: ModelSettings) -> dict[str, str]:
    prompts, form = prompts_of(settings.scenarios), settings.prompt_form
    if form is None:
        return prompts
    joined = {"query": form.query.before, "document": form.document.before}
    return {name: joined[name.rpartition("_")[2]] + text for name, text in prompts.items()}


def _write_config(source: Path, folder: Path, changes: Mapping[str, object]) -> None:
    config = {key: value for key, value in read_json(source / "config.json").items() if key not in _NOT_COPIED}
    # transformers loads weights in the precision that is stated here, and ours are written in float32.
    write_json(folder / "config.json", {**config, **changes, "dtype": "float32"})


def _write_sentence_transformers_files(folder: Path, settings: ModelSettings, dim: int) -> None:
    # Module types and keys of Sentence-Transformers 2: every later version reads them too.
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
    )
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": settings.max_length, "do_lower_case": settings.lower_case},
    )
    pooling = {flag: settings.pooling == name for flag, name in POOLING_FLAGS.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dim, **pooling})
    (folder / "2_Normalize").mkdir()
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": _prompts(settings), "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def _write_our_file(folder: Path, settings: ModelSettings) -> None:
    form = settings.prompt_form
    prompted = (
        {}
        if form is None
        else {
            "prompt_form": form_to_json(form),
            "max_length": settings.max_length,
            "lower_case": settings.lower_case,
        }
    )
    write_json(
        folder / OUR_FILE,
        {
            "format": FORMAT if form is None else FORMAT_WITH_FORM,
            "name": settings.name,
            "training_state": settings.training_state,
            "scenarios": pairs_of(settings.scenarios),
            **prompted,
            "sha256": checksums_of(folder),
        },
    )
