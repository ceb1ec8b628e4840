"""Recipe files: TOML tables and `key=value` overrides to checked records, and back to TOML."""

import dataclasses
import json
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecipeForm:
    """What a kind of recipe is made of: dataclasses by the name of their table, or of their list of tables.

    A list's tables have names, by which overrides find them. `example` is an override, for messages.
    """

    tables: Mapping[str, type]
    lists: Mapping[str, type]
    example: str

    @property
    def sections(self) -> dict[str, type]:
        """All of them, in the order of the file."""
        return {**self.tables, **self.lists}


def read_records(path: str | Path, overrides: Sequence[str], form: RecipeForm) -> dict[str, Any]:
    """The records of a TOML file by section: one, or a tuple of them for a list.

    An override is `table.key=value`, or `list.NAME.key=value`. Its value is written as in TOML, text without quotes;
    nothing after `=` unsets an optional key.

    Raises:
        ConfigError: if the file cannot be read, a key is unknown, missing or of the wrong type, or a value is out of
            range. The message names the file (or the override) and the key.
    """
    content = _read(Path(path))
    _check_sections(content, str(path), form)
    for override in overrides:
        try:
            _apply(override, content, form)
        except ConfigError as error:
            raise ConfigError(f"override {override!r}: {error}") from error
    with naming_file(path, overrides):
        return _records(content, form)


def recipe_path(name: str) -> Path:
    """The file of that name, or else the recipe of that name that ships with the package; a folder does not count."""
    shipped = Path(__file__).parent / "recipes" / f"{Path(name).name.removesuffix('.toml')}.toml"
    return shipped if not Path(name).is_file() and shipped.exists() else Path(name)


@contextmanager
def naming_file(path: str | Path, overrides: Sequence[str]) -> Iterator[None]:
    """Inside, what is wrong with a record's values is said with the recipe's file and what was changed in it."""
    try:
        yield
    except ConfigError as error:
        changed = f" with {' '.join(overrides)}" if overrides else ""
        raise ConfigError(f"recipe {path}{changed}: {error}") from error


def records_to_toml(records: Mapping[str, Any], form: RecipeForm) -> str:
    """Every setting of the records by section, defaults included; `read_records` of it gives equal ones."""
    lines: list[str] = []
    for section in form.tables:
        lines += [f"[{section}]", *_lines(records[section]), ""]
    for section in form.lists:
        for record in records[section]:
            lines += [f"[[{section}]]", *_lines(record), ""]
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"recipe {path} does not exist; expected the path of a TOML file.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"recipe {path} cannot be read: {error}; expected TOML in UTF-8.") from error


def _check_sections(content: dict[str, Any], path: str, form: RecipeForm) -> None:
    """The top level is as expected, so that overrides find what they change."""
    for section, value in content.items():
        if section not in form.sections:
            raise unknown_name(f"table in recipe {path}:", section, list(form.sections))
        if section in form.tables and not isinstance(value, dict):
            raise ConfigError(f"recipe {path}: {section} is {_kind(value)}; expected a table [{section}].")
        if section in form.lists and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            raise ConfigError(f"recipe {path}: {section} is {_kind(value)}; expected tables [[{section}]].")


def _apply(override: str, content: dict[str, Any], form: RecipeForm) -> None:
    key, found, text = override.partition("=")
    names = key.strip().split(".")
    if not found or len(names) < 2 or not all(names):
        raise ConfigError(f"expected key=value with a dotted key, such as {form.example}.")
    if names[0] not in form.sections:
        raise unknown_name("table", names[0], list(form.sections))
    table, rest = _table_to_change(names, content, form)
    hints = get_type_hints(form.sections[names[0]])
    if not rest or rest[0] not in hints:
        raise unknown_name(f"key in {names[0]}:", rest[0] if rest else "", list(hints))
    if len(rest) == 1:
        table[rest[0]] = _value(text.strip(), hints[rest[0]])
    elif len(rest) == 2 and _is_weights(hints[rest[0]]) and isinstance(table.get(rest[0], {}), str | dict):
        table[rest[0]] = _weights(table.get(rest[0], {})) | {rest[1]: _value(text.strip(), float)}
    else:
        raise ConfigError(f"{'.'.join(names)} is too deep; {'.'.join(names[: -len(rest) + 1])} has no keys inside.")


def _table_to_change(names: list[str], content: dict[str, Any], form: RecipeForm) -> tuple[dict[str, Any], list[str]]:
    """The table that the dotted key means, and the part of the key inside it."""
    section = names[0]
    if section in form.tables:
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
    is_text = hint is str or (str in get_args(hint) and get_origin(hint) is not tuple)
    return text if is_text and not isinstance(value, str) else value


def _records(content: dict[str, Any], form: RecipeForm) -> dict[str, Any]:
    for section, kind in form.tables.items():
        needed = [spec.name for spec in dataclasses.fields(kind) if spec.default is dataclasses.MISSING]
        if section not in content and needed:
            raise ConfigError(f"the table [{section}] is missing; expected it with at least {' and '.join(needed)}.")
    tables = {name: _record(kind, content.get(name, {}), name) for name, kind in form.tables.items()}
    lists = {
        name: tuple(_record(kind, table, _label(name, table)) for table in content.get(name, []))
        for name, kind in form.lists.items()
    }
    return {**tables, **lists}


def _is_weights(hint: Any) -> bool:  # noqa: ANN401  (any annotation)
    return get_origin(hint) is Mapping


def _weights(value: Any) -> Any:  # noqa: ANN401  (any TOML value)
    """One name alone needs no weight: `loss = "contrastive"`."""
    return {value: 1.0} if isinstance(value, str) else value


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
    if _is_weights(hint) and isinstance(value, str | dict):
        return {name: _checked(item, arguments[1], f"{key}.{name}") for name, item in _weights(value).items()}
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
    if get_origin(hint) is tuple:
        return "a list of texts" if get_args(hint)[0] is str else "a list of whole numbers"
    return "a table of name = number"


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
