"""Which data set is mined: where it lies, and what kind it is."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from evals.datasets.beir import is_set
from evals.datasets.conversations import find_documents
from evals.datasets.known_sets import KNOWN_SETS, SetSpec
from evals.datasets.selection import Selection
from evals.datasets.validation import Reading
from evals.errors import DataSetError
from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import SCENARIO_NAMES
from trainer.mining.queries import KINDS, TrainingQueries

_SCENARIOS = {"chunked_questions": "lrlm", "demonstrations": "icl", "long_text": "lrlm", "next_turn": "chat"}
"""Of the kinds that serve one scenario."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningSource:
    """One split of one data set that has not been read yet.

    `is_held_out` says that evaluation measures it, so that nothing may be trained on it. `labels_same_task` is for
    demonstrations only.
    """

    folder: Path
    name: str
    split: str
    scenario: str
    suite: str
    kind: str
    is_held_out: bool = False
    labels_same_task: bool = False

    def read(self, selection: Selection) -> TrainingQueries:
        """The queries and documents.

        Raises:
            DataSetError: with all that is wrong with the files.
        """
        return KINDS[self.kind](self, selection)


def find_source(
    data: Path,
    name: str | None,
    split: str,
    *,
    scenario: str | None = None,
    labels_same_task: bool = False,
) -> MiningSource:
    """The data set `name` below `data`, or the one that `data` itself is.

    Args:
        data: the folder of data sets, or of one.
        name: the folder of the set below `data`, such as "knowledge/squad"; None if `data` is one.
        split: which queries; for demonstrations the pool, where "train" stands for "seen" if there is no such pool.
        scenario: whose instructions the texts will get; by default that of the known sets beside it.
        labels_same_task: label found demonstrations of the query's own task.

    Raises:
        DataSetError: if there is no such folder, or nothing in it that can be mined.
        ConfigError: for an unknown scenario, or if it has to be named.
    """
    folder = data if name is None else data / name
    name = folder.resolve().name if name is None else name.strip("/")
    if not folder.is_dir():
        raise DataSetError(name, [f"there is no folder {folder.absolute()}; see --data and --set"])
    if scenario is not None and scenario not in SCENARIO_NAMES:
        raise unknown_name("scenario", scenario, list(SCENARIO_NAMES))
    known = [spec for spec in KNOWN_SETS if spec.name == name]
    beside = known or [spec for spec in KNOWN_SETS if spec.name.rpartition("/")[0] == name.rpartition("/")[0]]
    split = _pool(folder, split)
    kind = _kind(folder, split, name)
    if labels_same_task and kind != "demonstrations":
        raise ConfigError(f"--same-task: {name} has no tasks; it is for pools of demonstrations. Leave it out.")
    scenarios = {_SCENARIOS[kind]} if kind in _SCENARIOS else {spec.scenario for spec in beside}
    if scenario is None and len(scenarios) != 1:
        raise ConfigError(f"--scenario: {name} is no known data set; name one of: {', '.join(SCENARIO_NAMES)}.")
    return MiningSource(
        folder=folder,
        name=name,
        split=split,
        scenario=scenario or scenarios.pop(),
        suite=beside[0].suite if beside else "custom",
        kind=kind,
        is_held_out=any(_is_measured(spec, split, kind) for spec in known),
        labels_same_task=labels_same_task,
    )


def _is_measured(spec: SetSpec, split: str, kind: str) -> bool:
    """Whether evaluation asks the same queries; the pool of demonstrations of a task that is seen is not asked."""
    return split in (*spec.test, *spec.dev) and (spec.is_zero_shot or kind != "demonstrations")


def _pool(folder: Path, split: str) -> str:
    """Demonstrations have pools; the one that may be trained on is called "seen"."""
    if split == "train" and not _has(folder, "pool.train") and _has(folder, "pool.seen"):
        return "seen"
    return split


def _kind(folder: Path, split: str, name: str) -> str:
    if is_set(folder):
        return "beir"
    if _has(folder, f"pool.{split}"):
        return "demonstrations"
    if _has(folder, f"documents.{split}"):
        judged = any((folder / f"qrels.{split}.tsv{end}").is_file() for end in ("", ".gz"))
        if judged and _has(folder, f"queries.{split}"):
            return "memory"
        fields = _first_fields(folder, split)
        if "chunks" in fields and _has(folder, f"queries.{split}"):
            return "chunked_questions"
        return "next_turn" if "turns" in fields else "long_text"
    looked = ", ".join(f"{stem}.jsonl" for stem in ("corpus", f"pool.{split}", f"documents.{split}"))
    raise DataSetError(name, [f"nothing to mine for split {split!r}: looked in {folder.absolute()} for {looked} (.gz)"])


def _first_fields(folder: Path, split: str) -> Collection[str]:
    """What the first conversation or text of a split holds."""
    reading = Reading(folder.name)
    first = next(reading.rows(find_documents(reading, folder, split)), None)
    return () if first is None else first.value.keys()


def _has(folder: Path, stem: str) -> bool:
    return (folder / f"{stem}.jsonl.gz").is_file() or (folder / f"{stem}.jsonl").is_file()
