"""Every system on every set: index, search, evaluate, write; what an earlier run has written is not done again."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from evals.metrics import METRICS, evaluate_run, strictly_ordered
from evals.records import EvaluationSet, Run, Seconds, SetResult
from evals.results import set_result
from evals.systems import System
from evals.trec import write_qrels, write_run
from evals.whole_file import write_json
from rag_embedder.errors import ConfigError

DEPTH = 100
"""Documents kept for each query: as many as the deepest metric reads."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs systems and writes into `folder`: results/ and runs/ by system, qrels/ by set."""

    folder: Path
    metrics: Sequence[str] = METRICS
    k: int = DEPTH

    def run(
        self,
        systems: Sequence[System],
        sets: Sequence[EvaluationSet],
        *,
        on_result: Callable[[SetResult], None] = lambda _: None,
    ) -> list[SetResult]:
        """Results in the order of sets, then systems. Each is on disk before the next begins."""
        _refuse_collisions([system.name for system in systems])
        _refuse_collisions([evaluation_set.key for evaluation_set in sets])
        results = []
        with tqdm(total=len(systems) * len(sets), desc="evaluating", unit="set") as bar:
            for evaluation_set in sets:
                write_qrels(evaluation_set.qrels, self.folder / "qrels" / f"{_slug(evaluation_set.key)}.qrels")
                for system in systems:
                    bar.set_postfix_str(f"{system.name} on {evaluation_set.key}")
                    results.append(self.run_one(system, evaluation_set))
                    on_result(results[-1])
                    bar.update()
        return results

    def run_one(self, system: System, evaluation_set: EvaluationSet) -> SetResult:
        """One system on one set, from disk if the same was done before."""
        path = self.folder / "results" / _slug(system.name) / f"{_slug(evaluation_set.key)}.json"
        identity = self._identity(system, evaluation_set)
        known = _read(path, identity)
        if known is not None:
            # The same answers, whatever the system was called then; this time they took nothing.
            return replace(known, system=system.name, suite=evaluation_set.suite, seconds=Seconds())
        index = system.index(evaluation_set)
        answers = index.search(evaluation_set.queries, self.k)
        start = time.perf_counter()
        run: Run = strictly_ordered(
            {query.id: ranking for query, ranking in zip(evaluation_set.queries, answers, strict=True)}
        )
        values = evaluate_run(run, evaluation_set.qrels, self.metrics)
        seconds = Seconds(**index.seconds, evaluating=time.perf_counter() - start)
        result = SetResult(
            system=system.name,
            key=evaluation_set.key,
            scenario=evaluation_set.scenario,
            suite=evaluation_set.suite,
            num_queries=len(evaluation_set.queries),
            num_documents=len(evaluation_set.documents),
            is_zero_shot=evaluation_set.is_zero_shot,
            checksum=evaluation_set.checksum,
            values=values,
            seconds=seconds,
        )
        write_run(run, run_file(self.folder, system.name, evaluation_set.key), system=_slug(system.name))
        write_json({"identity": identity, "result": asdict(result)}, path)
        return result

    def _identity(self, system: System, evaluation_set: EvaluationSet) -> str:
        """Hash over everything the values depend on: the system, the files, which queries of them, the metrics."""
        queries = [query.id for query in evaluation_set.queries]
        documents = [document.id for document in evaluation_set.documents]
        parts = [
            system.fingerprint,
            evaluation_set.key,
            evaluation_set.scenario,
            evaluation_set.checksum,
            queries,
            documents,
            list(self.metrics),
            self.k,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def run_file(folder: Path, system: str, key: str) -> Path:
    """Where the ranking of one system for one set is, in TREC's format."""
    return folder / "runs" / _slug(system) / f"{_slug(key)}.trec.gz"


def _read(path: Path, identity: str) -> SetResult | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return set_result(content["result"]) if content["identity"] == identity else None
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError):
        return None  # not there, cut off, or of another version: it is made again


def _slug(name: str) -> str:
    """A name for files, on any file system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("/", "__")).strip("-.") or "unnamed"


def _refuse_collisions(names: Sequence[str]) -> None:
    by_slug: dict[str, str] = {}
    for name in names:
        other = by_slug.setdefault(_slug(name).casefold(), name)
        if other != name or names.count(name) > 1:
            raise ConfigError(f"{name!r} and {other!r} would be written to one file; expected different names: a=SPEC.")
