"""Multiple-choice questions, as MMLU has them (Hendrycks et al. 2021, arXiv 2009.03300)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.datasets.validation import Reading, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question; `options[answer_index]` is right. `subject` is the source's name, such as "abstract_algebra"."""

    id: str
    subject: str
    text: str
    options: Sequence[str]
    answer_index: int


def read_multiple_choice(folder: Path, split: str, *, name: str | None = None) -> list[Question]:
    """The questions of `queries.<split>.jsonl.gz`: `_id`, `subject`, `text`, `options`, `answer_index` from 0.

    Raises:
        DataSetError: with all that is wrong with the file.
    """
    reading = Reading(f"{folder.name if name is None else name}.{split}")
    file = reading.find(
        folder, [f"queries.{split}.jsonl.gz", f"queries.{split}.jsonl"], what=f"questions of split {split!r}"
    )
    reading.raise_problems()
    questions: dict[str, Question] = {}
    for row in reading.rows(file):
        id_ = row.new_id(questions)
        questions[id_] = _question(row, id_)
    if not questions:
        reading.problem("no question", file)
    reading.raise_problems()
    return list(questions.values())


def _question(row: Row, id_: str) -> Question:
    options = row.texts("options")
    answer_index = row.value.get("answer_index")
    if len(options) < 2:
        row.problem("fewer than two options")
    if isinstance(answer_index, bool) or not isinstance(answer_index, int) or answer_index not in range(len(options)):
        row.problem("'answer_index' is no position, counted from 0, of one of the options")
        answer_index = 0
    return Question(
        id=id_,
        subject=row.text("subject"),
        text=row.text("text", may_be_blank=False),
        options=tuple(options),
        answer_index=answer_index,
    )
