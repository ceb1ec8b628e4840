"""One query of a run, for a person to read."""

from collections.abc import Mapping
from pathlib import Path

from evals.records import EvaluationSet, SetResult
from evals.results import Results
from evals.runner import run_file
from evals.texts import sets_of
from evals.trec import read_run
from rag_embedder.errors import InputError

_WIDTH = 300


def describe_query(
    results: Results, folder: Path, query: str, *, key: str | None = None, k: int = 5, data: Path | None = None
) -> str:
    """The query's text, its relevant documents, and the first `k` documents of every system, relevant ones marked *.

    Raises:
        InputError: if no set of the run, or more than one, has a query of this id.
    """
    found = [result for result in results.results if any(query in values for values in result.values.values())]
    keys = list(dict.fromkeys(result.key for result in found if key in (None, result.key)))
    if len(keys) != 1:
        where = "no set of the run has it" if not keys else f"it is in {', '.join(keys)}"
        raise InputError(f"query {query!r}: {where}; expected one set. Name it with --set.")
    evaluation_set = sets_of(results, data).get(keys[0])
    lines = [f"{keys[0]}  {query}", *_query_lines(evaluation_set, query)]
    for result in found:
        if result.key == keys[0]:
            lines += ["", *_system_lines(result, evaluation_set, folder, query, k)]
    return "\n".join(lines)


def _query_lines(evaluation_set: EvaluationSet | None, query: str) -> list[str]:
    if evaluation_set is None:
        return ["(the data are not where they lay, or have changed: name their folder with --data)"]
    asked = next(each for each in evaluation_set.queries if each.id == query)
    lines = [f"  {turn.role}: {_short(turn.content)}" for turn in asked.history]
    lines.append(f"  {'query' if not asked.history else 'user'}: {asked.text}")
    texts = _texts(evaluation_set)
    for id_, relevance in sorted(evaluation_set.qrels[query].items(), key=lambda each: -each[1]):
        if relevance > 0:
            lines.append(f"  relevant ({relevance}): {id_}  {_short(texts.get(id_, ''))}")
    return lines


def _system_lines(
    result: SetResult, evaluation_set: EvaluationSet | None, folder: Path, query: str, k: int
) -> list[str]:
    metrics = ", ".join(f"{name} {values[query]:.3f}" for name, values in result.values.items())
    lines = [f"{result.system}: {metrics}"]
    qrels: Mapping[str, int] = {} if evaluation_set is None else evaluation_set.qrels[query]
    texts = {} if evaluation_set is None else _texts(evaluation_set)
    ranking = read_run(run_file(folder, result.system, result.key)).get(query, [])
    for rank, (id_, score) in enumerate(ranking[:k], start=1):
        mark = "*" if qrels.get(id_, 0) > 0 else " "
        lines.append(f" {mark}{rank:3d}  {score:9.4f}  {id_}  {_short(texts.get(id_, ''))}")
    return lines if ranking else [*lines, "     nothing found"]


def _texts(evaluation_set: EvaluationSet) -> dict[str, str]:
    return {document.id or "": f"{document.title} {document.text}".strip() for document in evaluation_set.documents}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]} ..."
