"""Checks that a recipe's records make of their own values; each message begins with the key.

All raise ConfigError.
"""

import math
import re

from rag_embedder.errors import ConfigError


def at_least(key: str, value: float, low: float) -> None:
    """A finite number of `low` or more."""
    if not value >= low or math.isinf(value):
        raise ConfigError(f"{key} is {value}; expected {low} or more.")


def above_zero(key: str, value: float) -> None:
    """A finite number above 0."""
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{key} is {value}; expected a number above 0.")


def share(key: str, value: float) -> None:
    """From 0 to below 1."""
    if not 0 <= value < 1:
        raise ConfigError(f"{key} is {value}; expected a share from 0 to below 1.")


def not_empty(key: str, value: str) -> None:
    """A text that names something."""
    if not value:
        raise ConfigError(f"{key} is empty; expected a path.")


def is_name(key: str, value: str) -> None:
    """Letters, digits, underscores and hyphens: what a folder and a curve can be called."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value):
        raise ConfigError(f"{key} is {value!r}; expected letters, digits, '_' or '-'.")


def check_dims(dims: tuple[int, ...]) -> None:
    """Rising numbers of 1 or more."""
    if any(dim < 1 for dim in dims) or list(dims) != sorted(set(dims)):
        raise ConfigError(f"train.matryoshka_dims is {list(dims)}; expected rising numbers of 1 or more, such as [64].")


def no_duplicates(key: str, names: list[str]) -> None:
    """Names of the tables of a list."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{key}.name {twice[0]!r} occurs twice; expected another name for each [[{key}]] table.")
