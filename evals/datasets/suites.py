"""Which data sets a run measures: a suite of the known ones, or a folder of a user's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evals.datasets.known_sets import KNOWN_SETS, SetSpec
from evals.datasets.selection import Selection
from evals.errors import DataSetError
from evals.records import EvaluationSet
from rag_embedder.registry import Registry, unknown_name

CUSTOM = "custom"
"""The suite of a folder that is itself one data set."""

READERS = Registry(
    "reader",
    {
        "beir": "evals.datasets.beir:read_beir",
        "memory": "evals.datasets.memory:read_memory",
        "same_task": "evals.datasets.demonstrations:read_same_task",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSource:
    """One split of one data set that has not been read yet."""

    folder: Path
    name: str
    split: str
    suite: str
    scenario: str
    reader: str
    is_zero_shot: bool | None
    unless_trained_on: str | None = None

    @property
    def key(self) -> str:
        """Name and split: what results and files call the set."""
        return f"{self.name}.{self.split}"

    def load(self, selection: Selection | None = None) -> EvaluationSet:
        """Read and check the set.

        Raises:
            DataSetError: with all that is wrong with its files.
        """
        selection = Selection() if selection is None else selection
        return READERS[self.reader](
            self.folder,
            self.split,
            scenario=self.scenario,
            suite=self.suite,
            name=self.name,
            is_zero_shot=self.is_zero_shot,
            limit=selection.limit,
            seed=selection.seed,
            max_documents=selection.max_documents,
        )


SUITES = tuple(dict.fromkeys(spec.suite for spec in KNOWN_SETS))
"""The names of suites, besides "all"."""


def suite_sets(data: Path, suite: str = "all", *, split: str = "test", scenario: str = "qa") -> list[SetSource]:
    """The sets of a suite, in a fixed order, none read yet; one whose files are missing says so when it is loaded.

    A `data` that holds a corpus itself is one set of the suite "custom", whatever suite is named.

    Args:
        data: the folder of data sets, or of one set.
        suite: one of `SUITES`, or "all".
        split: "test" or "dev"; any split of a folder that is one set.
        scenario: of a folder that is one set.

    Raises:
        DataSetError: if there is no such folder.
        ConfigError: for an unknown suite or split.
    """
    from evals.datasets.beir import is_set

    if not data.is_dir():
        raise DataSetError(suite, [f"there is no folder {data.absolute()}; name the folder of data sets with --data"])
    if is_set(data):
        return [_custom(data, split, scenario)]
    if suite == CUSTOM:
        raise DataSetError(suite, [f"no corpus.jsonl or corpus.jsonl.gz in {data.absolute()}"])
    if suite not in (*SUITES, "all"):
        raise unknown_name("suite", suite, [*SUITES, "all", CUSTOM])
    if split not in ("test", "dev"):
        raise unknown_name("split", split, ["test", "dev"])
    specs = [spec for spec in KNOWN_SETS if suite in (spec.suite, "all")]
    return [_source(data, spec, name) for spec in specs for name in (spec.test if split == "test" else spec.dev)]


def find_sets(data: Path) -> list[SetSource]:
    """The known sets whose folder is there, with all their evaluation splits; or the one set that `data` is.

    Raises:
        DataSetError: if there is no such folder.
    """
    from evals.datasets.beir import is_set, splits_of

    if is_set(data):
        return [_custom(data, split, "qa") for split in splits_of(data)]
    both = [*suite_sets(data), *suite_sets(data, split="dev")]
    return list({source.key: source for source in both if source.folder.is_dir()}.values())


def load_suite(
    data: Path,
    suite: str = "all",
    *,
    split: str = "test",
    scenario: str = "qa",
    limit: int | None = None,
    seed: int = 0,
    max_documents: int | None = None,
) -> Iterator[EvaluationSet]:
    """The sets of a suite, each read when it is asked for; see `suite_sets` and `Selection`.

    Raises:
        DataSetError: at the first set that cannot be read. To go on with the others, load each of `suite_sets`.
    """
    selection = Selection(limit=limit, seed=seed, max_documents=max_documents)
    for source in suite_sets(data, suite, split=split, scenario=scenario):
        yield source.load(selection)


def _source(data: Path, spec: SetSpec, split: str) -> SetSource:
    return SetSource(
        folder=data / spec.name,
        name=spec.name,
        split=split,
        suite=spec.suite,
        scenario=spec.scenario,
        reader=spec.reader,
        is_zero_shot=spec.is_zero_shot,
        unless_trained_on=spec.unless_trained_on,
    )


def _custom(folder: Path, split: str, scenario: str) -> SetSource:
    name = folder.resolve().name or "data"
    return SetSource(
        folder=folder, name=name, split=split, suite=CUSTOM, scenario=scenario, reader="beir", is_zero_shot=None
    )
