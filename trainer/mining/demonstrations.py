"""Worked examples: each of a pool is a query whose candidates are the others (LLM-R, arXiv 2307.07164).

Nothing is known to help before a language model has scored it, so nothing is labelled, unless the examples of the
query's own task shall count as positives.
"""

from collections.abc import Sequence

from evals.datasets.demonstrations import Example, read_demonstrations
from evals.datasets.selection import Selection
from evals.datasets.validation import Reading
from evals.records import EvaluationSet, Query
from rag_embedder.types import Demonstration, Document
from trainer.mining.checksum import checksum_of
from trainer.mining.draws import draw
from trainer.mining.queries import TrainingQueries
from trainer.mining.source import MiningSource


def read_pool(source: MiningSource, selection: Selection) -> TrainingQueries:
    """Queries are inputs, documents input, newline, output; the answer is the output. No query is given itself."""
    reading = Reading(f"{source.name}.{source.split}")
    names = [f"pool.{source.split}.jsonl.gz", f"pool.{source.split}.jsonl"]
    file = reading.find(source.folder, names, what="pool")
    reading.raise_problems()
    pool = read_demonstrations(file)
    asked = draw(pool, selection, f"{source.name}.{source.split}")
    documents = EvaluationSet(
        name=source.name,
        split=source.split,
        scenario=source.scenario,
        suite=source.suite,
        documents=[Document(Demonstration(each.input, each.output).text, id=each.id) for each in pool],
        queries=[Query(id=each.id, text=each.input, answers=(each.output,)) for each in asked],
        qrels={},
        checksum=checksum_of(file),
    )
    return TrainingQueries(
        documents=documents,
        hidden={each.id: frozenset([each.id]) for each in asked},
        tasks=_tasks(pool) if source.labels_same_task else {},
    )


def _tasks(pool: Sequence[Example]) -> dict[str, str]:
    return {example.id: example.task for example in pool}
