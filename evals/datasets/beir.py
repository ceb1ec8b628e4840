"""A folder of three files, as BEIR has it: corpus, queries, judgements (Thakur et al. 2021, arXiv 2104.08663)."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evals.datasets.labels import read_labels
from evals.datasets.selection import Description, Selection, finish
from evals.datasets.validation import Reading, Row
from evals.records import EvaluationSet, Query
from rag_embedder.types import Document, Turn

_ROLES = ("user", "assistant", "system", "tool")
_PACKED = (".gz", "")
_CORPUS = ("corpus.jsonl.gz", "corpus.jsonl")
_LABELS = re.compile(r"(?:qrels\.)?(?P<split>.+)\.(?:tsv|txt)(?:\.gz)?")


def read_beir(
    folder: Path,
    split: str,
    *,
    scenario: str,
    suite: str,
    name: str | None = None,
    is_zero_shot: bool | None = None,
    limit: int | None = None,
    seed: int = 0,
    max_documents: int | None = None,
) -> EvaluationSet:
    """Read and check one split of a folder.

    Files, each plain or with .gz: `corpus.jsonl` (`_id`, `text`, perhaps `title`); `queries.<split>.jsonl`, or
    `queries.jsonl` for all splits (`_id`, `text`, perhaps `history`, a list of {"role", "content"}, and `answer` or
    `answers`); `qrels.<split>.tsv` or `qrels/<split>.tsv` (.txt too), with BEIR's or TREC's columns. Other fields are
    left alone. The checksum is over corpus, queries and judgements, unpacked, whole even where a part is drawn.

    Args:
        folder: where the files lie.
        split: which queries and judgements.
        scenario: whose instructions the texts get.
        suite: what the report puts the set under.
        name: what results call the set; the folder's name if None.
        is_zero_shot: whether training has not seen the source; None if nobody said.
        limit: at most so many queries, drawn with `seed`.
        seed: for the draws.
        max_documents: a smaller corpus, for trying out; see `Selection`.

    Raises:
        DataSetError: with all that is wrong with the files: missing, broken lines, ids that are there twice or
            nowhere, a split without labelled queries.
    """
    name = folder.name if name is None else name
    reading = Reading(f"{name}.{split}")
    corpus, asked, judged = _find_files(reading, folder, split)
    reading.raise_problems()
    documents: dict[str, Document] = {}
    for row in reading.rows(corpus):
        id_ = row.new_id(documents)
        documents[id_] = Document(row.text("text"), id=id_, title=row.text("title", ""))
    queries: dict[str, Query] = {}
    for row in reading.rows(asked):
        id_ = row.new_id(queries)
        history = read_history(row)
        text = row.text("text", may_be_blank=bool(history))
        queries[id_] = Query(id=id_, text=text, history=history, answers=read_answers(row))
    qrels = read_labels(reading, judged, queries=queries.keys(), documents=documents.keys())
    holds_all_splits = asked.name.startswith("queries.jsonl")
    return finish(
        reading,
        Description(name=name, split=split, scenario=scenario, suite=suite, is_zero_shot=is_zero_shot),
        list(documents.values()),
        [query for query in queries.values() if query.id in qrels or not holds_all_splits],
        qrels,
        Selection(limit=limit, seed=seed, max_documents=max_documents),
    )


def is_set(folder: Path) -> bool:
    """Whether a folder holds a corpus, and so is one data set."""
    return any((folder / name).is_file() for name in _CORPUS)


def splits_of(folder: Path) -> list[str]:
    """The splits that a folder has judgements for, sorted."""
    files = [*folder.glob("qrels.*"), *folder.glob("qrels/*")]
    return sorted({match["split"] for file in files if (match := _LABELS.fullmatch(file.name))})


def read_history(row: Row) -> tuple[Turn, ...]:
    """The turns before a query, oldest first, from its field "history"; none if there is no such field."""
    return tuple(read_turn(row, turn, roles=_ROLES) for turn in row.items("history", []))


def read_turn(row: Row, turn: object, *, roles: Sequence[str] = ()) -> Turn:
    """One {"role", "content"} of a row; the role must be one of `roles`, if there are any."""
    if not isinstance(turn, dict):
        row.problem(f"a turn is {type(turn).__name__}; expected an object with 'role' and 'content'")
        return Turn(roles[0] if roles else "", "")
    of_turn = replace(row, value=turn)
    role = of_turn.text("role")
    if roles and role not in roles:
        row.problem(f"role {role[:20]!r}; expected one of: {', '.join(roles)}")
        role = roles[0]  # so that the rest can be checked
    return Turn(role, of_turn.text("content"))


def read_answers(row: Row) -> tuple[str, ...]:
    """The expected outputs: "answers" is a list of alternatives, "answer" one of any form. What is no text, as JSON."""
    answers = row.items("answers", [])
    if row.value.get("answer") is not None:
        answers = [*answers, row.value["answer"]]
    return tuple(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in answers)


def _find_files(reading: Reading, folder: Path, split: str) -> tuple[Path, Path, Path]:
    corpus = reading.find(folder, _CORPUS, what="corpus")
    queries = [f"{stem}.jsonl{end}" for stem in (f"queries.{split}", "queries") for end in _PACKED]
    asked = reading.find(folder, queries, what="queries")
    labels = [
        f"{stem}{split}.{kind}{end}" for stem in ("qrels.", "qrels/") for kind in ("tsv", "txt") for end in _PACKED
    ]
    splits = splits_of(folder)
    others = f" (there are judgements for: {', '.join(splits)})" if splits else ""
    judged = reading.find(folder, labels, what=f"judgements of split {split!r}{others}")
    return corpus, asked, judged
