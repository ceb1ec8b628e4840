"""What the page's script reads: values per query, and the queries that are shown in full, as one JSON object."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evals.report.examples import ExampleQuery, SetExamples, thousandths
from evals.report.table import TITLES
from evals.results import Results

_MOST_VALUES = 250_000
"""Values of all sets and systems together; about 4 characters each."""

_FEWEST_QUERIES = 200


def page_data(results: Results, examples: Mapping[str, SetExamples], *, metric: str, baseline: str | None) -> str:
    """A JSON object that can stand inside a script element: no text in it can end the element or begin a comment."""
    systems = list(results.systems)
    keys = results.keys()
    limit = max(_FEWEST_QUERIES, _MOST_VALUES // max(1, len(keys) * len(systems)))
    content = {
        "metric": metric,
        "systems": systems,
        "baseline": systems.index(baseline) if baseline is not None else None,
        "sets": [_set(results, key, examples.get(key), metric, limit) for key in keys],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _set(results: Results, key: str, examples: SetExamples | None, metric: str, limit: int) -> dict[str, Any]:
    found = {result.system: result for result in results.results if result.key == key}
    first = next(iter(found.values()))
    ids = _spread(sorted(first.values[metric]), limit)
    values = {name: result.values[metric] for name, result in found.items()}
    documents = list(examples.documents) if examples else []
    rows = {id_: row for row, id_ in enumerate(documents)}
    return {
        "key": key,
        "scenario": TITLES.get(first.scenario, first.scenario),
        "queries": first.num_queries,
        "means": [round(1000 * found[name].mean(metric), 2) if name in found else None for name in results.systems],
        "values": [_column(values.get(name), ids) for name in results.systems],
        "perSide": examples.per_side if examples else 0,
        "documents": [[id_, examples.documents[id_]] for id_ in documents] if examples else [],
        "examples": [_example(query, values, list(results.systems), rows) for query in examples.queries]
        if examples
        else [],
    }


def _column(values: Mapping[str, float] | None, ids: Sequence[str]) -> list[int | None] | None:
    if values is None:
        return None
    return [thousandths(values[id_]) if id_ in values else None for id_ in ids]


def _example(
    query: ExampleQuery, values: Mapping[str, Mapping[str, float]], systems: Sequence[str], rows: Mapping[str, int]
) -> dict[str, Any]:
    """Hits are [row of the document, or its id where the text is not at hand; relevance or null]."""
    found = [query.found.get(system) for system in systems]
    return {
        "id": query.id,
        "text": query.text,
        "history": [list(turn) for turn in query.history],
        "values": [
            thousandths(values[system][query.id]) if query.id in values.get(system, {}) else None for system in systems
        ],
        "hits": [
            None if each is None or each.hits is None else [[rows.get(id_, id_), judged] for id_, judged in each.hits]
            for each in found
        ],
        "first": [None if each is None else each.first_relevant for each in found],
    }


def _spread(ids: Sequence[str], limit: int) -> list[str]:
    """All, or `limit` of them evenly spread."""
    if len(ids) <= limit:
        return list(ids)
    return [ids[place * len(ids) // limit] for place in range(limit)]
