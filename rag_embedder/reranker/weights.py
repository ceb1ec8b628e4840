"""The weights of a reranker: a whole classifier with one output, or an adapter over a decoder, merged at load."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from rag_embedder.engine.whole_weights import load_whole, load_with_new
from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_folder import check_weights
from rag_embedder.model_source import ModelSource, locate
from rag_embedder.reranker.adapter import ADAPTER_CONFIG, merge_adapter, read_adapter
from rag_embedder.tokenizer import TOKENIZER_FILES

WHAT = "cross-encoder with its classification head"
_HEAD = re.compile(r"(score|classifier|pre_classifier)\.|(.*\.)?pooler\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """A model with one output, the folder of its config, and that of its tokenizer."""

    model: PreTrainedModel
    config_folder: Path
    tokenizer_folder: Path


def is_head(name: str) -> bool:
    """Whether a tensor of this name turns token states into the score; BERT's pooler does."""
    return _HEAD.match(name) is not None


def load_weights(source: ModelSource, dtype: torch.dtype, *, allow_pickle: bool = False) -> LoadedWeights:
    """Read a folder's model into `dtype` at once, so that a large one never takes more memory than it needs.

    Raises:
        ModelLoadError: if it is not whole, or is no classifier.
        UntrustedModelError: if it would need pickled weights.
        ConfigError: if it has more than one output.
    """
    if source.delta is not None:
        raise ModelLoadError(f"{source.folder} holds differences to an encoder; expected a reranker with its head.")
    if (source.folder / ADAPTER_CONFIG).exists():
        return _load_adapter(source.folder, dtype, allow_pickle=allow_pickle)
    check_weights(source.folder, allow_pickle=allow_pickle)
    model = load_whole(AutoModelForSequenceClassification, source.folder, dtype, what=WHAT, allow_pickle=allow_pickle)
    if model.config.num_labels != 1:
        raise ConfigError(
            f"reranker: the model gives {model.config.num_labels} numbers for a pair; expected 1: a cross-encoder "
            "with one output."
        )
    return LoadedWeights(model=model, config_folder=source.folder, tokenizer_folder=source.folder)


def _load_adapter(folder: Path, dtype: torch.dtype, *, allow_pickle: bool) -> LoadedWeights:
    adapter = read_adapter(folder)
    base = locate(adapter.base, allow_pickle=allow_pickle)
    if base.delta is not None:
        raise ModelLoadError(f"{folder}: its base {adapter.base} is a delta folder; expected a whole model.")
    check_weights(base.files, allow_pickle=allow_pickle)
    model, new = load_with_new(
        AutoModelForSequenceClassification,
        base.files,
        dtype,
        what="base of a reranker",
        may_be_new=is_head,
        num_labels=1,
        allow_pickle=allow_pickle,
    )
    random = sorted(set(new) - merge_adapter(model, adapter, allow_pickle=allow_pickle))
    if random:
        raise ModelLoadError(
            f"neither the adapter in {folder} nor its base {adapter.base} has {', '.join(random)}; expected the score "
            "head in one of them. This is not the adapter of a reranker."
        )
    has_tokenizer = any(
        (folder / name).exists() for name in TOKENIZER_FILES if name.startswith(("tokenizer.", "vocab"))
    )
    return LoadedWeights(
        model=model, config_folder=base.files, tokenizer_folder=folder if has_tokenizer else base.files
    )
