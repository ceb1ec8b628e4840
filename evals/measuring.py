"""A whole run: read every set, open every system, measure, and keep what was found."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from evals.cost import measure_costs, sample_of
from evals.datasets.selection import Selection
from evals.datasets.suites import SetSource, suite_sets
from evals.errors import DataSetError
from evals.metrics import METRICS
from evals.provenance import provenance
from evals.records import EvaluationSet, SetResult
from evals.results import Results, save_results
from evals.runner import Runner
from evals.systems import System
from evals.systems.specification import open_systems
from evals.vector_cache import VectorCache

SMOKE_SETS = (
    "knowledge/tydiqa_en.test",
    "conversational_search/canard.dev",
    "tool_retrieval/stabletoolbench.test",
    "memory/memorybank_chat.test",
    "memory/qmsum.test",
    "demos/multitask.new_task",
)
"""One set of every scenario, for trying out."""

SMOKE = Selection(limit=20, max_documents=150)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is asked to do; it is written down with the results.

    `only` keeps the sets of these keys; `measures_cost` False leaves out the timing of systems side by side.
    """

    data: Path
    out: Path
    systems: Sequence[str]
    cache: Path
    suite: str = "all"
    split: str = "test"
    scenario: str = "qa"
    selection: Selection = field(default_factory=Selection)
    only: Sequence[str] | None = None
    metrics: Sequence[str] = METRICS
    device: str = "auto"
    measures_cost: bool = True

    def arguments(self) -> dict[str, object]:
        """As JSON, without what does not change the figures."""
        kept = asdict(self)
        return {**kept, "data": str(self.data), "out": str(self.out), "cache": str(self.cache)}


def measure(plan: Plan) -> tuple[Results, list[EvaluationSet]]:
    """Run a plan; returns the results, which are also in `plan.out`, and the sets that were read.

    Sets are all read and checked before any model is loaded. Those that cannot be read are listed in the results.

    Raises:
        DataSetError: if no set can be read.
        ConfigError, ModelLoadError: for a system that cannot be opened, before anything is encoded.
    """
    start = time.perf_counter()
    sets, skipped = read_sets(_sources(plan), plan.selection)
    read = time.perf_counter()
    systems = open_systems(plan.systems, cache=VectorCache(plan.cache), device=plan.device)
    opened = time.perf_counter()
    results = Runner(plan.out, plan.metrics).run(systems, sets)
    measured = time.perf_counter()
    costs = measure_costs(systems, sample_of(sets[0])) if plan.measures_cost else {}
    wall = _split(results, total=measured - opened) | {
        "reading data": read - start,
        "loading models": opened - read,
        "measuring costs": time.perf_counter() - measured,
    }
    found = Results(
        provenance=provenance(plan.selection.seed),
        arguments=plan.arguments(),
        systems=_described(systems),
        results=results,
        costs=costs,
        skipped=skipped,
        wall=wall,
    )
    save_results(found, plan.out)
    return found, sets


def read_sets(sources: Sequence[SetSource], selection: Selection) -> tuple[list[EvaluationSet], dict[str, str]]:
    """The sets that can be read, and why the others cannot, by key.

    Raises:
        DataSetError: if none can.
    """
    sets: list[EvaluationSet] = []
    faults: dict[str, DataSetError] = {}
    for source in sources:
        try:
            sets.append(source.load(selection))
        except DataSetError as fault:
            faults[source.key] = fault
    if not sets:
        raise next(iter(faults.values()), DataSetError("", ["there is no set of that suite and split"]))
    return sets, {key: str(fault) for key, fault in faults.items()}


def _sources(plan: Plan) -> list[SetSource]:
    sources = suite_sets(plan.data, plan.suite, split=plan.split, scenario=plan.scenario)
    return [source for source in sources if plan.only is None or source.suite == "custom" or source.key in plan.only]


def _described(systems: Sequence[System]) -> Mapping[str, Mapping[str, str]]:
    return {system.name: {**system.describe(), "fingerprint": system.fingerprint} for system in systems}


def _split(results: Sequence[SetResult], *, total: float) -> dict[str, float]:
    """Seconds by what they were spent on."""
    steps = {
        "encoding": sum(each.seconds.encoding_documents + each.seconds.encoding_queries for each in results),
        "indexing": sum(each.seconds.indexing for each in results),
        "searching": sum(each.seconds.searching for each in results),
        "evaluating": sum(each.seconds.evaluating for each in results),
    }
    return steps | {"writing": max(0.0, total - sum(steps.values()))}
