"""Long texts, for predicting how they go on."""

from dataclasses import dataclass
from pathlib import Path

from evals.datasets.conversations import find_documents
from evals.datasets.validation import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class LongText:
    """One long text in full."""

    id: str
    text: str
    title: str = ""


def read_texts(folder: Path, split: str, *, name: str | None = None) -> list[LongText]:
    """The texts of `documents.<split>.jsonl.gz` (`_id`, `text`, perhaps `title`), in the file's order.

    Raises:
        DataSetError: with all that is wrong with the file.
    """
    reading = Reading(f"{folder.name if name is None else name}.{split}")
    file = find_documents(reading, folder, split)
    reading.raise_problems()
    texts: dict[str, LongText] = {}
    for row in reading.rows(file):
        id_ = row.new_id(texts)
        texts[id_] = LongText(id=id_, text=row.text("text", may_be_blank=False), title=row.text("title", ""))
    if not texts:
        reading.problem("no text", file)
    reading.raise_problems()
    return list(texts.values())
