"""The output of scoring: a folder of shards, and the settings that all of them were made with.

A shard is there whole or not at all, and what goes into it is decided by the data alone. So a run that was killed, or
several that share the work, write every pair exactly once.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.whole_file import write_json
from rag_embedder.errors import ConfigError, InputError
from trainer.examples import Example
from trainer.reading import example_files, read_examples, write_examples

SETTINGS_FILE = "scoring.json"
REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """Examples from `start` up to `stop`, in one file."""

    number: int
    start: int
    stop: int

    @property
    def file_name(self) -> str:
        """Its name in the folder; the order of names is the order of the data."""
        return f"scores-{self.number:06d}.jsonl"


def plan_shards(examples: Sequence[Example], num_pairs: int) -> list[Shard]:
    """Consecutive examples, each shard closed by the one with which it has `num_pairs` candidates or more."""
    shards: list[Shard] = []
    start = pairs = 0
    for position, example in enumerate(examples, start=1):
        pairs += len(example.candidates)
        if pairs >= num_pairs or position == len(examples):
            shards.append(Shard(len(shards), start, position))
            start, pairs = position, 0
    return shards


def open_folder(folder: Path, settings: Mapping[str, object]) -> None:
    """Make the folder, or make sure that what is there was made with the same settings.

    Raises:
        InputError: if it holds files of something else.
        ConfigError: if it was made with other settings; the message names them.
    """
    path = folder / SETTINGS_FILE
    wanted = json.loads(json.dumps(settings))
    if path.is_file():
        _compare(path, wanted)
        return
    # An unfinished settings file of a run that was killed at once has a name that begins with a dot.
    others = [file.name for file in folder.iterdir() if not file.name.startswith(".")] if folder.is_dir() else []
    if folder.exists() and (others or not folder.is_dir()):
        raise InputError(
            f"{folder}: this is not an empty folder, and no scores lie there ({len(others)} files, no "
            f"{SETTINGS_FILE}); expected a new or empty folder, or one to continue: give another."
        )
    write_json(wanted, path)


def is_written(folder: Path, shard: Shard) -> bool:
    """Whether the shard is there; raises InputError if its number of lines is not that of its examples."""
    path = folder / shard.file_name
    if not path.is_file():
        return False
    with path.open("rb") as file:
        num_lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    if num_lines != shard.stop - shard.start:
        raise InputError(
            f"{path}: {num_lines} lines; expected {shard.stop - shard.start}. It was changed after it was written: "
            "remove it and run the same command again."
        )
    return True


def write_shard(folder: Path, shard: Shard, examples: Sequence[Example]) -> None:
    """Write the scored examples of one shard; errors as for `write_examples`, before anything is there."""
    write_examples(examples, folder / shard.file_name)


def read_shard(folder: Path, shard: Shard, examples: Sequence[Example]) -> list[Example]:
    """The scored examples of one shard.

    Raises:
        InputError: if they are not those of `examples`, or have no rewards.
    """
    path = folder / shard.file_name
    scored = read_examples(path)
    expected = examples[shard.start : shard.stop]
    if [each.id for each in scored] != [each.id for each in expected] or any(each.rewards is None for each in scored):
        raise InputError(
            f"{path}: other examples than those of the data, or without rewards; it was changed after it was written: "
            "remove it and run the same command again."
        )
    return scored


def remove_leftovers(folder: Path) -> None:
    """Remove files that killed runs had not finished; only when no other run writes there."""
    for path in folder.glob(".scores-*"):
        path.unlink(missing_ok=True)


def digest_of(data: Path) -> str:
    """Sha256 over the bytes of a data set's files, in order."""
    digest = hashlib.sha256()
    for path in example_files(data):
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def _compare(path: Path, wanted: Mapping[str, object]) -> None:
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON; it was changed after it was written: give another folder.") from error
    differing = _differences(there, wanted)
    if differing:
        raise ConfigError(
            f"{path.parent}: scores lie there that were made with other settings ({', '.join(differing)}); expected "
            "the same, to continue them: give another folder."
        )


def _differences(there: object, wanted: object, name: str = "") -> list[str]:
    """Dotted names of what differs, with short values."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = [*wanted, *(key for key in there if key not in wanted)]
        return [
            line
            for key in keys
            for line in _differences(there.get(key), wanted.get(key), f"{name}.{key}" if name else str(key))
        ]
    if there == wanted:
        return []
    return [f"{name}: {str(there)[:20]!r} there, {str(wanted)[:20]!r} now"]
