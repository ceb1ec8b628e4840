"""Examples as LangChain has them, dicts of anything, and the demonstrations they become."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag_embedder import Demonstration
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.store.json_values import decode, encode
from rag_embedder.texts import check_texts

KeptExamples = dict[str, dict[str, Any]]
"""Examples by id, as they were given."""


@dataclass(frozen=True, slots=True)
class ExampleKeys:
    """Which keys of an example are its input and which its output; `outputs=None` means all the others.

    Raises:
        ConfigError: if there is no input key, or one key is both.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        both = set(self.inputs) & set(self.outputs or ())
        if not self.inputs or both or self.outputs == ():
            raise ConfigError(
                f"input_keys: got {list(self.inputs)}, output_keys: got {self.outputs and list(self.outputs)}; "
                "expected at least one of each, and none that is both."
            )
        check_texts([*self.inputs, *(self.outputs or ())], field="input_keys and output_keys")

    def input_text(self, example: Mapping[str, Any], field: str) -> str:
        """The values of the input keys, a line each: the same for an example and for a query.

        Raises:
            InputError: for a missing key, or None under one: as a text it would be a word that nobody wrote.
        """
        text = _lines(example, self.inputs, field)
        empty = [key for key in self.inputs if example[key] is None]
        if empty:
            raise InputError(
                f"{field}: got None under {empty}; expected words under the input keys {list(self.inputs)}."
            )
        return text

    def demonstration(self, example: Mapping[str, Any], field: str, task: str, *, is_durable: bool) -> Demonstration:
        """The example to be stored; its metadata are the example, or, in memory, as much of it as is JSON.

        Raises:
            InputError: for a missing key, an output without words, or a value that would not come back from disk.
        """
        text = self.input_text(example, field)
        outputs = tuple(key for key in example if key not in self.inputs) if self.outputs is None else self.outputs
        answer = _lines(example, outputs, field)
        if not text.strip() or not answer.strip():
            raise InputError(
                f"{field}: the {'output' if text.strip() else 'input'} is empty; expected words under input keys "
                f"{list(self.inputs)} and under {'other' if self.outputs is None else 'output'} keys {list(outputs)}. "
                "Nothing was added."
            )
        lost = [key for key, value in example.items() if not _survives(key, value)]
        if is_durable and lost:
            raise InputError(
                f"{field}: the values under {lost} would not come back from disk as they are; expected JSON values "
                "(str, int, float, bool, None, list, dict). Convert them, or leave out `path`. Nothing was added."
            )
        return Demonstration(text, answer, task, metadata={key: example[key] for key in example if key not in lost})

    def example(self, demonstration: Demonstration) -> dict[str, Any]:
        """The example of a demonstration from disk, or one made of a demonstration that was never an example."""
        if all(key in demonstration.metadata for key in self.inputs):
            return dict(demonstration.metadata)
        output_key = self.outputs[0] if self.outputs else "output"
        return {self.inputs[0]: demonstration.input, output_key: demonstration.output}


def plain_copy(example: Any) -> Any:  # noqa: ANN401  (whatever an example holds)
    """A copy whose dicts, lists and tuples are new; other objects, which may not be copyable, are the same ones."""
    if isinstance(example, Mapping):
        return {key: plain_copy(value) for key, value in example.items()}
    if type(example) in (list, tuple):
        return type(example)(map(plain_copy, example))
    return example


def _lines(example: Mapping[str, Any], keys: tuple[str, ...], field: str) -> str:
    if not isinstance(example, Mapping):
        raise InputError(f"{field}: got {type(example).__name__}; expected a dict with the keys {list(keys)}.")
    missing = [key for key in keys if key not in example]
    if missing:
        raise InputError(
            f"{field}: no value for {missing}; expected the keys {list(keys)}, got {sorted(map(str, example))}."
        )
    return "\n".join(_line(example[key]) for key in keys)


def _line(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # keys that are no text, or a value within itself
        return str(value)


def _survives(key: object, value: object) -> bool:
    """Whether a value comes back from the store as it is: no tuples, no numbers as keys, no objects."""
    if not isinstance(key, str):
        return False
    try:
        return _same(decode(encode({key: value}, "metadata", "(new)")), {key: value})
    except InputError:
        return False


def _same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other
