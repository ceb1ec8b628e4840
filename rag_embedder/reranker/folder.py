"""What of a folder decides a score besides weights and tokenizer, and the folders that training writes.

reranker.json    format, name, template, tokens that are read, training state, sha256 of what decides the scores
config.json, model.safetensors, tokenizer.json ...    as transformers' AutoModelForSequenceClassification reads them
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_folder.checksums import checksums_of, verify_checksums
from rag_embedder.model_folder.json_files import read_json, read_optional_json, write_json
from rag_embedder.model_folder.max_length import checked_length, max_positions, stated_length
from rag_embedder.model_folder.new_folder import new_folder
from rag_embedder.model_source import ModelSource
from rag_embedder.registry import unknown_name
from rag_embedder.reranker.template import TEMPLATES
from rag_embedder.tokenizer import TOKENIZER_FILES

RERANKER_FILE = "reranker.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerSettings:
    """What the model is called, how it reads a pair and how much of it; None where no file says."""

    name: str
    template: str | None
    max_length: int
    training_state: str = "as published"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    template: str
    max_length: int


KNOWN_RERANKERS: Mapping[str, _Published] = {
    # Trained on 196 tokens of short passages; 512 is what its authors gave it on longer ones.
    "castorini/rankllama-v1-7b-lora-passage": _Published(template="rankllama", max_length=512),
    "castorini/rankllama-v1-13b-lora-passage": _Published(template="rankllama", max_length=512),
    # Trained on 2,048 tokens, used up to the 4,096 that Llama 2 reads.
    "castorini/rankllama-v1-7b-lora-doc": _Published(template="rankllama", max_length=4096),
}
"""Published rerankers whose files do not say how they read a pair, by hub id."""


def read_reranker_settings(source: ModelSource) -> RerankerSettings:
    """Settings of a model: ours, those known of a published one, or the lengths that its files state.

    Raises:
        ModelLoadError: if a file is missing or broken; the message names it.
    """
    name, positions = source.name, max_positions(source.files, _config_of(source.files))
    path = source.folder / RERANKER_FILE
    ours = read_optional_json(path)
    if not ours:
        known = KNOWN_RERANKERS.get(name)
        most = stated_length(source.files, {}, positions) if known is None else min(known.max_length, positions)
        return RerankerSettings(name=name, template=None if known is None else known.template, max_length=most)
    if ours.get("format") != _FORMAT:
        raise ModelLoadError(f"{path} has format {ours.get('format')!r}; this version reads {_FORMAT}. Upgrade.")
    if ours.get("template") not in TEMPLATES:
        raise ModelLoadError(
            f"{path}: template is {ours.get('template')!r}; expected one of: {', '.join(TEMPLATES)}. Upgrade."
        )
    recorded = ours.get("sha256")
    if isinstance(recorded, dict):
        verify_checksums(source.folder, recorded, recorded_in=RERANKER_FILE)
    return RerankerSettings(
        name=str(ours.get("name", name)),
        template=ours["template"],
        max_length=min(checked_length(ours.get("max_length"), path, "max_length"), positions),
        training_state=str(ours.get("training_state", "as published")),
    )


def chosen_length(settings: RerankerSettings, wanted: int | None, *, source: Path) -> int:
    """The settings' length, or the one that is wanted.

    Raises:
        ConfigError: if that is longer than the position table, or too short for a query and a text.
    """
    if wanted is None:
        return settings.max_length
    positions = max_positions(source, _config_of(source))
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 8 <= wanted <= positions:
        raise ConfigError(
            f"max_length: got {wanted!r}; expected an int from 8 to {positions}, the positions of {settings.name}."
        )
    return wanted


def chosen_template(settings: RerankerSettings, wanted: str | None, *, is_decoder: bool) -> str:
    """The template that is wanted, or the settings', or for encoders "pair".

    Raises:
        ConfigError: for an unknown name, or a decoder whose files say nothing.
    """
    if wanted is not None and wanted not in TEMPLATES:
        raise unknown_name("template", wanted, list(TEMPLATES))
    chosen = wanted or settings.template or ("pair" if not is_decoder else None)
    if chosen is None:
        raise ConfigError(
            f"template: {settings.name} is a decoder whose files do not say how it reads a pair; expected one of: "
            f"{', '.join(TEMPLATES)}. Pass the one it was trained with."
        )
    return chosen


def write_reranker_folder(
    target: Path, settings: RerankerSettings, *, source: Path, write_weights: Callable[[Path], None]
) -> None:
    """Write a complete folder that `Reranker.load` and transformers read.

    `source` gives the tokenizer; `write_weights` is called with the new folder and writes config.json and
    model.safetensors.

    Raises:
        ConfigError: if `target` exists and is not an empty folder.
    """
    with new_folder(target) as temporary:
        for name in TOKENIZER_FILES:
            if (source / name).exists():
                shutil.copyfile(source / name, temporary / name)
        write_weights(temporary)
        write_json(
            temporary / RERANKER_FILE,
            {
                "format": _FORMAT,
                "name": settings.name,
                "training_state": settings.training_state,
                "template": settings.template,
                "max_length": settings.max_length,
                "sha256": checksums_of(temporary),
            },
        )


def _config_of(folder: Path) -> dict[str, object]:
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ModelLoadError(f"{folder / 'config.json'} has no model_type; expected a Hugging Face model config.")
    return config
