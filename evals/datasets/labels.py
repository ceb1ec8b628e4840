"""Relevance judgements from files: BEIR's three columns with a header, or TREC's four without."""

from collections.abc import Collection
from pathlib import Path

from evals.datasets.validation import Reading
from evals.records import Qrels


def read_labels(reading: Reading, file: Path, *, queries: Collection[str], documents: Collection[str]) -> Qrels:
    """The judgements of a file: query, document, score; or query, anything, document, score.

    Columns are divided by tabs, or by blanks where a line has no tab. A first line whose last column is no number and
    whose first is no query is a header. Scores are whole numbers; above 0 is relevant. A judgement of 0 or less about
    a document that is not here changes no metric, and is left out. Everything else that does not fit is a problem:
    unknown ids, two different scores for one pair, broken lines.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in reading.lines(file):
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if number == 1 and not _is_number(columns[-1]) and columns[0] not in queries:
            continue
        if problem := _problem(columns):
            reading.problem(problem, file, number)
            continue
        query, document, score = columns[0], columns[-2], int(float(columns[-1]))
        if query not in queries:
            reading.problem(f"query {query!r} is not among the queries", file, number)
        elif document not in documents:
            if score > 0:
                reading.problem(f"document {document!r} is not in the corpus", file, number)
        elif qrels.setdefault(query, {}).setdefault(document, score) != score:
            reading.problem(f"a second score for query {query!r} and document {document!r}", file, number)
    return qrels


def _problem(columns: list[str]) -> str | None:
    if len(columns) not in (3, 4):
        return f"{len(columns)} columns; expected query, document, score, or TREC's four"
    if not columns[0] or not columns[-2]:
        return "an empty query or document id"
    if not _is_number(columns[-1]) or not float(columns[-1]).is_integer():
        return f"score {columns[-1][:20]!r}; expected a whole number"
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
