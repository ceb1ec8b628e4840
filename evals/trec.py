"""Runs and judgements as files in TREC's formats, which trec_eval and every other tool of the field read.

A run has lines of `query Q0 document rank score system`, judgements lines of `query 0 document relevance`. Columns are
divided by blanks, so blanks and control characters inside an id are written as in a URL (%20), and so is % itself.
"""

import gzip
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, unquote_to_bytes

from evals.datasets.validation import Reading
from evals.errors import RunError
from evals.metrics import LARGEST_SCORE, strictly_ordered
from evals.records import Qrels
from evals.whole_file import whole_file

_UNSAFE = re.compile(r"[\s%\x00-\x1f\x7f-\x9f]")


def write_run(run: Mapping[str, Sequence[tuple[str, float]]], file: Path, *, system: str) -> None:
    """Write a run, packed if the name ends in .gz, after `strictly_ordered`; ranks count from 1.

    Nine digits are what tells numbers of single precision apart: what is read back is equal. The file is there
    whole or not at all, and the same run makes the same bytes.

    Raises:
        RunError: if a ranking cannot be scored, or an id is empty.
    """
    tag = _written(system)
    with _whole_text(file) as out:
        for query, ranking in strictly_ordered(run).items():
            name = _written(query)
            for rank, (document, score) in enumerate(ranking, start=1):
                out.write(f"{name} Q0 {_written(document)} {rank} {score:.9g} {tag}\n")


def read_run(file: Path, *, is_escaped: bool = True) -> dict[str, list[tuple[str, float]]]:
    """The rankings of a run, `strictly_ordered` by their scores; the column of ranks is not read.

    Args:
        file: the run, packed if its name ends in .gz.
        is_escaped: whether %20 in an id is a blank; False for files of programs that write ids as they are.

    Raises:
        DataSetError: for broken lines, a score that is no finite number, or a document that is twice in a ranking.
    """
    run: dict[str, dict[str, float]] = {}
    reading = Reading(file.name)
    for line, columns in _columns(reading, file, 6):
        query, document = _read(columns[0], is_escaped), _read(columns[2], is_escaped)
        score = _number(columns[4])
        if score is None:
            reading.problem("the score is no finite number", file, line)
        elif document in run.setdefault(query, {}):
            reading.problem(f"query {query!r}: document {document!r} was there before", file, line)
        else:
            run[query][document] = score
    reading.raise_problems()
    return strictly_ordered({query: list(ranking.items()) for query, ranking in run.items()})


def write_qrels(qrels: Qrels, file: Path) -> None:
    """Write judgements, packed if the name ends in .gz; whole or not at all.

    Raises:
        RunError: if an id is empty.
    """
    with _whole_text(file) as out:
        for query, scores in qrels.items():
            name = _written(query)
            for document, relevance in scores.items():
                out.write(f"{name} 0 {_written(document)} {relevance}\n")


def read_qrels(file: Path, *, is_escaped: bool = True) -> dict[str, dict[str, int]]:
    """Judgements by query, in the file's order.

    Args:
        file: the judgements, packed if the name ends in .gz.
        is_escaped: see `read_run`.

    Raises:
        DataSetError: for broken lines, or a document that is judged twice for one query.
    """
    qrels: dict[str, dict[str, int]] = {}
    reading = Reading(file.name)
    for line, columns in _columns(reading, file, 4):
        query, document = _read(columns[0], is_escaped), _read(columns[2], is_escaped)
        if not re.fullmatch(r"[+-]?\d{1,9}", columns[3]):
            reading.problem("the relevance is no whole number", file, line)
        elif document in qrels.setdefault(query, {}):
            reading.problem(f"query {query!r}: document {document!r} was there before", file, line)
        else:
            qrels[query][document] = int(columns[3])
    reading.raise_problems()
    return qrels


def _columns(reading: Reading, file: Path, expected: int) -> Iterator[tuple[int, list[str]]]:
    reading.find(file.parent, [file.name], what="TREC file")
    reading.raise_problems()
    for number, line in reading.lines(file):
        columns = line.split()
        if len(columns) == expected:
            yield number, columns
        else:
            reading.problem(f"{len(columns)} columns; expected {expected}", file, number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) <= LARGEST_SCORE else None


def _written(id_: str) -> str:
    if not id_:
        raise RunError("an id is empty; expected at least one character.")
    return _UNSAFE.sub(lambda found: quote(found[0], safe=""), id_) if _UNSAFE.search(id_) else id_


def _read(id_: str, is_escaped: bool) -> str:
    if not is_escaped or "%" not in id_:
        return id_
    try:
        return unquote_to_bytes(id_).decode("utf-8")
    except UnicodeDecodeError:
        return id_  # not of our writing


@contextmanager
def _whole_text(path: Path) -> Iterator[TextIO]:
    with whole_file(path) as raw:
        # no name and no time inside the packed file, and the speed of a low level
        binary = gzip.GzipFile("", "wb", 3, raw, mtime=0) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(binary, encoding="utf-8", newline="\n") as out:  # type: ignore[arg-type]
            yield out
