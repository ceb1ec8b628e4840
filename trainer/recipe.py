"""A recipe file and `key=value` overrides to a checked `Recipe`, and back to TOML."""

import dataclasses
import json
import tomllib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from evals.whole_file import write_text
from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import Scenario
from trainer.settings import DataSettings, ModelSettings, Recipe, TrainSettings

__all__ = ["DataSettings", "ModelSettings", "Recipe", "TrainSettings", "load_recipe", "recipe_to_toml", "save_recipe"]

_TABLES = {"model": ModelSettings, "train": TrainSettings}
_LISTS = {"data": DataSettings, "scenario": Scenario}
_SECTIONS = [*_TABLES, *_LISTS]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe; each override is `table.key=value`, or `data.NAME.key=value` for one data set.

    An override's value is written as in TOML, text without quotes; nothing after `=` unsets an optional key.

    Raises:
        ConfigError: if the file cannot be read, a key is unknown, missing or of the wrong type, or a value is out of
            range. The message names the file (or the override) and the key.
    """
    content = _read(Path(path))
    _check_sections(content, str(path))
    for override in overrides:
        try:
            _apply(override, content)
        except ConfigError as error:
            raise ConfigError(f"override {override!r}: {error}") from error
    try:
        return _recipe(content, str(path))
    except ConfigError as error:
        changed = f" with {' '.join(overrides)}" if overrides else ""
        raise ConfigError(f"recipe {path}{changed}: {error}") from error


def recipe_to_toml(recipe: Recipe) -> str:
    """Every setting, defaults included; `load_recipe` of it gives an equal recipe."""
    lines: list[str] = []
    for section in _TABLES:
        lines += [f"[{section}]", *_lines(getattr(recipe, section)), ""]
    for section in _LISTS:
        for record in getattr(recipe, section):
            lines += [f"[[{section}]]", *_lines(record), ""]
    return "\n".join(lines)


def save_recipe(recipe: Recipe, path: Path) -> Path:
    """Write the resolved recipe, whole or not at all."""
    return write_text(recipe_to_toml(recipe), path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"recipe {path} does not exist; expected the path of a TOML file.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"recipe {path} cannot be read: {error}; expected TOML in UTF-8.") from error


def _check_sections(content: dict[str, Any], path: str) -> None:
    """The top level is as expected, so that overrides find what they change."""
    for section, value in content.items():
        if section not in _SECTIONS:
            raise unknown_name(f"table in recipe {path}:", section, _SECTIONS)
        if section in _TABLES and not isinstance(value, dict):
            raise ConfigError(f"recipe {path}: {section} is {_kind(value)}; expected a table [{section}].")
        if section in _LISTS and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            raise ConfigError(f"recipe {path}: {section} is {_kind(value)}; expected tables [[{section}]].")


def _apply(override: str, content: dict[str, Any]) -> None:
    key, found, text = override.partition("=")
    names = key.strip().split(".")
    if not found or len(names) < 2 or not all(names):
        raise ConfigError("expected key=value with a dotted key, such as train.steps=100 or data.qa.path=qa.jsonl.")
    if names[0] not in _SECTIONS:
        raise unknown_name("table", names[0], _SECTIONS)
    table, rest = _table_to_change(names, content)
    owner = {**_TABLES, **_LISTS}[names[0]]
    hints = get_type_hints(owner)
    if not rest or rest[0] not in hints:
        raise unknown_name(f"key in {names[0]}:", rest[0] if rest else "", list(hints))
    if len(rest) == 1:
        table[rest[0]] = _value(text.strip(), hints[rest[0]])
    elif len(rest) == 2 and rest[0] == "loss" and isinstance(table.get("loss", {}), str | dict):
        table["loss"] = _weights(table.get("loss", {})) | {rest[1]: _value(text.strip(), float)}
    else:
        raise ConfigError(f"{'.'.join(names)} is too deep; {'.'.join(names[: -len(rest) + 1])} has no keys inside.")


def _table_to_change(names: list[str], content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The table that the dotted key means, and the part of the key inside it."""
    section = names[0]
    if section in _TABLES:
        return content.setdefault(section, {}), names[1:]
    known = {str(table.get("name")): table for table in content.get(section, [])}
    if names[1] not in known:
        raise unknown_name(f"{section} name", names[1], list(known))
    return known[names[1]], names[2:]


def _value(text: str, hint: Any) -> Any:  # noqa: ANN401  (any TOML value, any annotation)
    """An override's text as a TOML value; what is not TOML is text, so that paths need no quotes."""
    if not text and type(None) in get_args(hint):
        return None
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    is_text = hint is str or str in get_args(hint)
    return text if is_text and not isinstance(value, str) else value


def _recipe(content: dict[str, Any], path: str) -> Recipe:
    missing = [f"[{name}]" for name in _TABLES if name not in content and name != "model"]
    if missing:
        raise ConfigError(f"the table {missing[0]} is missing; expected [train] with at least steps and out.")
    for table in content.get("data", []):
        if "loss" in table:
            table["loss"] = _weights(table["loss"])
    return Recipe(
        model=_record(ModelSettings, content.get("model", {}), "model"),
        train=_record(TrainSettings, content["train"], "train"),
        data=tuple(_record(DataSettings, table, _label("data", table)) for table in content.get("data", [])),
        scenario=tuple(_record(Scenario, table, _label("scenario", table)) for table in content.get("scenario", [])),
        source=path,
    )


def _weights(loss: Any) -> Any:  # noqa: ANN401  (any TOML value)
    """One loss alone needs no weight: `loss = "contrastive"`."""
    return {loss: 1.0} if isinstance(loss, str) else loss


def _label(section: str, table: dict[str, Any]) -> str:
    return f"{section}.{table['name']}" if isinstance(table.get("name"), str) else section


def _record(kind: type, table: dict[str, Any], where: str) -> Any:  # noqa: ANN401  (an instance of `kind`)
    hints = get_type_hints(kind)
    for key in table:
        if key not in hints:
            raise unknown_name(f"key in {where}:", key, list(hints))
    for spec in dataclasses.fields(kind):
        if spec.name not in table and spec.default is dataclasses.MISSING:
            raise ConfigError(f"{where}.{spec.name} is missing; it has no default.")
    return kind(**{key: _checked(value, hints[key], f"{where}.{key}") for key, value in table.items()})


def _checked(value: Any, hint: Any, key: str) -> Any:  # noqa: ANN401  (any TOML value, any annotation)
    """The value as its annotation wants it: int as float, list as tuple; nothing else is converted."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _checked(value, arguments[0], key)
    if origin is Literal:
        if value not in arguments:
            raise unknown_name(f"value of {key}:", value, list(arguments))
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_checked(item, arguments[0], key) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {name: _checked(item, arguments[1], f"{key}.{name}") for name, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    # Not isinstance: to Python, true is an int.
    if type(value) is not hint:
        raise ConfigError(f"{key} is {_kind(value)}; expected {_expected(hint)}.")
    return value


def _kind(value: object) -> str:
    return {list: "a list", dict: "a table", bool: str(value).lower()}.get(type(value), repr(value))


def _expected(hint: Any) -> str:  # noqa: ANN401  (any annotation)
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if hint in words:
        return words[hint]
    return "a list of whole numbers" if get_origin(hint) is tuple else "a table of name = number"


def _lines(record: Any) -> list[str]:  # noqa: ANN401  (a dataclass)
    values = {spec.name: getattr(record, spec.name) for spec in dataclasses.fields(record)}
    # TOML has no null: what is None stays out, and is None again when it is read.
    return [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML string but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
