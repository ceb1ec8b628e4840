"""Training examples as JSON lines: one example per line, checked on the way in and on the way out.

    {"id": "q1", "query": "who ...?", "prompt": "who ...?", "answers": ["Ann"],
     "candidates": [{"id": "d7", "text": "...", "label": 1}, {"id": "d2", "text": "...", "continuation": "..."}],
     "rewards": [-0.3, -2.1]}

`id`, `query` and `candidates` are required, and `id` and `text` of each candidate. A field that is not named here is a
problem, because a misspelt one would be lost without a word.
"""

import gzip
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.datasets.validation import Reading, Row
from evals.errors import DataSetError
from evals.whole_file import whole_file
from rag_embedder.errors import InputError
from rag_embedder.registry import unknown_name
from trainer.errors import ExamplesError
from trainer.examples import Candidate, Example

_FIELDS = ("id", "query", "candidates", "answers", "prompt", "rewards")
_CANDIDATE_FIELDS = ("id", "text", "label", "continuation")
_ENDINGS = (".jsonl", ".jsonl.gz")
# Level 9 takes five times as long for a few percent.
_LEVEL = 5


def read_examples(path: str | Path) -> list[Example]:
    """The examples of a file, or of all `*.jsonl` and `*.jsonl.gz` of a folder in the order of their names.

    Candidates that are equal are one object, so that texts shared by many examples take memory once.

    Raises:
        ExamplesError: with all that is wrong, each with file and line: broken lines, unknown fields, an example without
            candidates, rewards that are not finite or not one for each candidate, ids that are there twice.
        InputError: if there is no such file or folder.
    """
    path = Path(path)
    reading = Reading(str(path))
    shared: dict[Candidate, Candidate] = {}
    examples: dict[str, Example] = {}
    for file in example_files(path):
        for row in reading.rows(file):
            example = _example(row, shared)
            if example.id and example.id in examples:
                row.problem(f"id {example.id!r} was there before; expected every example once")
            examples[example.id] = example
    if not examples:
        reading.problem("no example", path)
    _raise_problems(reading, str(path))
    return list(examples.values())


def example_files(path: str | Path) -> list[Path]:
    """The file itself, or a folder's shards in the order of their names.

    Raises:
        InputError: if there is no such file, or no shard in the folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"examples: there is no file or folder {path}; expected JSON lines, as mining writes them.")
    shards = sorted(file for ending in _ENDINGS for file in path.glob(f"*{ending}") if not file.name.startswith("."))
    if not shards:
        raise InputError(f"examples: no {' or '.join(f'*{ending}' for ending in _ENDINGS)} in {path.absolute()}.")
    return shards


def write_examples(examples: Iterable[Example], path: str | Path) -> int:
    """Write one file, packed if its name ends in .gz; it is there whole or not at all. Returns how many there are.

    Equal examples give equal bytes.

    Raises:
        InputError: if the file's name ends neither in .jsonl nor in .jsonl.gz.
        ExamplesError: for an example that could not be read again; the line is the one it would have had.
    """
    path = Path(path)
    check_file_name(path)
    count = 0
    with ExitStack() as stack:
        stream: Any = stack.enter_context(whole_file(path))
        if path.name.endswith(".gz"):
            # No name and no time inside: equal examples, equal bytes.
            stream = stack.enter_context(gzip.GzipFile("", "wb", _LEVEL, stream, mtime=0))
        for count, example in enumerate(examples, start=1):
            value = example_to_json(example)
            example_from_json(value, file=path, line=count)
            stream.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
    return count


def check_file_name(path: Path) -> None:
    """Nothing, if `read_examples` would find the file in a folder.

    Raises:
        InputError: if its name ends neither in .jsonl nor in .jsonl.gz.
    """
    if not path.name.endswith(_ENDINGS):
        raise InputError(f"examples: got the file name {path.name!r}; expected one that ends in .jsonl or .jsonl.gz.")


def example_to_json(example: Example) -> dict[str, Any]:
    """A JSON object; fields that are empty are left out."""
    value: dict[str, Any] = {"id": example.id, "query": example.query}
    if example.prompt:
        value["prompt"] = example.prompt
    if example.answers:
        value["answers"] = list(example.answers)
    value["candidates"] = [_candidate_to_json(candidate) for candidate in example.candidates]
    if example.rewards is not None:
        value["rewards"] = list(example.rewards)
    return value


def example_from_json(value: object, *, file: Path = Path("example"), line: int = 1) -> Example:
    """The example that a JSON value holds; `file` and `line` are for the message.

    Raises:
        ExamplesError: with all that is wrong with it.
    """
    reading = Reading(str(file))
    if not isinstance(value, Mapping):
        raise ExamplesError(str(file), [f"{file}:{line}: a {type(value).__name__}; expected an object"])
    example = _example(Row(dict(value), reading, file, line), {})
    _raise_problems(reading, str(file))
    return example


def _raise_problems(reading: Reading, name: str) -> None:
    try:
        reading.raise_problems()
    except DataSetError as error:  # its message speaks of measuring
        raise ExamplesError(name, error.problems, error.num_problems) from None


@dataclass(frozen=True, slots=True)
class _Part(Row):
    """A candidate of a row: its problems say which one it is."""

    where: str = ""

    def problem(self, message: str) -> None:
        self.reading.problem(f"{self.where}: {message}", self.file, self.line)


def _example(row: Row, shared: dict[Candidate, Candidate]) -> Example:
    _refuse_unknown(row, _FIELDS)
    candidates = _candidates(row, shared)
    return Example(
        id=row.id("id"),
        query=row.text("query", may_be_blank=False),
        candidates=candidates,
        answers=tuple(row.texts("answers", [])),
        prompt=row.text("prompt", ""),
        rewards=_rewards(row, len(candidates)),
    )


def _candidates(row: Row, shared: dict[Candidate, Candidate]) -> tuple[Candidate, ...]:
    raw = row.items("candidates")
    if not raw and isinstance(row.value.get("candidates"), list):
        row.problem("'candidates' is empty; expected one document or more")
    candidates = []
    for position, value in enumerate(raw):
        where = f"candidates[{position}]"
        if not isinstance(value, dict):
            row.problem(f"{where}: a {type(value).__name__}; expected an object with 'id' and 'text'")
            continue
        candidate = _candidate(_Part(value, row.reading, row.file, row.line, where))
        candidates.append(shared.setdefault(candidate, candidate))
    twice = len(candidates) - len({candidate.id for candidate in candidates})
    if twice:
        row.problem(f"{twice} of {len(candidates)} candidates have an id that another one has; expected each once")
    return tuple(candidates)


def _candidate(row: Row) -> Candidate:
    _refuse_unknown(row, _CANDIDATE_FIELDS)
    label = row.value.get("label", 0)
    if not isinstance(label, int) or isinstance(label, bool) or label < 0:
        row.problem(f"'label' is {_shown(label)}; expected a whole number from 0 on")
        label = 0
    return Candidate(
        id=row.id("id"),
        text=row.text("text", may_be_blank=False),
        label=label,
        continuation=row.text("continuation", ""),
    )


def _rewards(row: Row, num_candidates: int) -> tuple[float, ...] | None:
    if row.value.get("rewards") is None:
        return None
    rewards = row.items("rewards")
    if len(rewards) != num_candidates:
        row.problem(f"{len(rewards)} rewards for {num_candidates} candidates; expected one each")
    for position, reward in enumerate(rewards):
        if not _is_finite(reward):
            row.problem(f"rewards[{position}] is {_shown(reward)}; expected a finite number: score it again")
            return None
    return tuple(float(reward) for reward in rewards)


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _refuse_unknown(row: Row, fields: tuple[str, ...]) -> None:
    for name in row.value.keys() - set(fields):
        row.problem(str(unknown_name("field", name[:40], list(fields))))


def _candidate_to_json(candidate: Candidate) -> dict[str, Any]:
    value: dict[str, Any] = {"id": candidate.id, "text": candidate.text}
    if candidate.label:
        value["label"] = candidate.label
    if candidate.continuation:
        value["continuation"] = candidate.continuation
    return value


def _shown(value: object) -> str:
    """A number; of anything else the type, because it may be a document's text."""
    if isinstance(value, int | float):
        return str(value) if isinstance(value, bool | float) or abs(value) < 10**20 else "an integer beyond 10^20"
    return type(value).__name__
