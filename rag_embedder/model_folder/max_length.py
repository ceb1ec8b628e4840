"""How many tokens a model reads, from what its files state and from the size of its position table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_embedder.errors import ModelLoadError
from rag_embedder.model_folder.json_files import read_optional_json

_MIN = 8
"""A model that reads fewer tokens than this has a broken config: special tokens and an instruction must fit."""

_UNSTATED = 512
"""Tokens read by a model without a position table that does not say."""

_PAD_SHIFTED = frozenset(
    ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "roberta-prelayernorm", "data2vec-text")
)
"""Architectures that count positions from the padding id + 1: their table is that much longer than their input."""


def max_positions(folder: Path, config: Mapping[str, Any]) -> int:
    """Tokens that fit into the position table.

    Raises:
        ModelLoadError: if config.json states something that is not a usable length.
    """
    positions = config.get("max_position_embeddings")
    if positions is None:
        return _UNSTATED
    if config["model_type"] in _PAD_SHIFTED and isinstance(positions, int):
        padding = config.get("pad_token_id")
        positions -= (padding if isinstance(padding, int) else 1) + 1
    return checked_length(positions, folder / "config.json", "max_position_embeddings")


def stated_length(folder: Path, transformer: Mapping[str, Any], positions: int) -> int:
    """Length of a Sentence-Transformers folder: `max_seq_length`, else the tokenizer's, at most `positions`."""
    if transformer.get("max_seq_length") is not None:
        return min(
            checked_length(transformer["max_seq_length"], folder / "sentence_bert_config.json", "max_seq_length"),
            positions,
        )
    stated = read_optional_json(folder / "tokenizer_config.json").get("model_max_length")
    if stated is None or (isinstance(stated, float) and stated > positions):
        return positions  # 1e30 is how transformers writes "no limit"
    return min(checked_length(stated, folder / "tokenizer_config.json", "model_max_length"), positions)


def checked_length(value: object, path: Path, key: str) -> int:
    """The number of tokens that a file states.

    Raises:
        ModelLoadError: if it is not a usable length; the message names file and key.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < _MIN:
        raise ModelLoadError(f"{path}: {key} is {value!r}; expected an int of at least {_MIN}.")
    return value
