"""Plain texts: JSON lines with `text`, read whole and held as ids."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from evals.datasets.validation import Reading
from evals.errors import DataSetError
from trainer.errors import ExamplesError
from trainer.language_model.documents import Ids, TokenSequence, encode, generator, start_and_end
from trainer.reading import example_files

_BLOCK = 512


def read_texts(path: str | Path) -> list[str]:
    """The field `text` of every line of a file, or of all `*.jsonl` and `*.jsonl.gz` of a folder.

    Raises:
        ExamplesError: with all that is wrong, each with file and line.
        InputError: if there is no such file or folder.
    """
    reading = Reading(str(path))
    texts = [row.text("text", may_be_blank=False) for file in example_files(path) for row in reading.rows(file)]
    if not texts:
        reading.problem("no text", Path(path))
    try:
        reading.raise_problems()
    except DataSetError as error:  # its message speaks of measuring
        raise ExamplesError(str(path), error.problems, error.num_problems) from None
    return texts


class TextSource:
    """Texts to train on; each counts fully, its end token too."""

    may_be_cut = True

    def __init__(self, name: str, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, *, seed: int) -> None:
        self.name = name
        self._seed = seed
        self._rows = text_ids(texts, tokenizer)

    def sequences(self, epoch: int) -> Iterator[TokenSequence]:
        """All texts once, in an order drawn for the epoch."""
        for number in generator(self._seed, self.name, epoch).permutation(len(self._rows)):
            yield text_sequence(self._rows[number])


def text_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    """Start token, text, end token of each."""
    start, end = start_and_end(tokenizer)
    rows = []
    for first in range(0, len(texts), _BLOCK):
        for ids in encode(tokenizer, texts[first : first + _BLOCK]):
            rows.append(np.array([start, *ids, end], dtype=np.int32))
    return rows


def text_sequence(ids: Ids) -> TokenSequence:
    """Every token is predicted but the first."""
    weights = np.ones(len(ids), dtype=np.float32)
    weights[0] = 0.0
    return TokenSequence(ids, weights)
