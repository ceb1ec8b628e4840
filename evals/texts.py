"""The texts behind a run's ids: the sets are read again from where they lay."""

from collections.abc import Mapping
from pathlib import Path

from evals.datasets.selection import Selection
from evals.datasets.suites import suite_sets
from evals.errors import DataSetError
from evals.records import EvaluationSet
from evals.results import Results


def sets_of(results: Results, data: Path | None = None) -> Mapping[str, EvaluationSet]:
    """The run's sets by key; those that are gone or have changed since are left out."""
    arguments = results.arguments
    folder = Path(str(arguments["data"])) if data is None else data
    checksums = {result.key: result.checksum for result in results.results}
    sets: dict[str, EvaluationSet] = {}
    try:
        sources = suite_sets(folder, arguments["suite"], split=arguments["split"], scenario=arguments["scenario"])
    except DataSetError:
        return {}
    for source in sources:
        if source.key not in checksums:
            continue
        try:
            found = source.load(Selection(**arguments["selection"]))
        except DataSetError:
            continue
        if found.checksum == checksums[source.key]:
            sets[source.key] = found
    return sets
