"""Passages with what follows them: long texts cut into passages, or pairs as the released data has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from evals.datasets.validation import Reading, Row
from evals.errors import DataSetError
from rag_embedder.errors import ConfigError
from trainer.errors import ExamplesError
from trainer.language_model.data import held_out_numbers
from trainer.language_model.documents import Ids, encode
from trainer.language_model.texts import read_texts
from trainer.pretraining.settings import PassageDataSettings
from trainer.reading import example_files

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Pair:
    """A passage as text, what its two vectors should predict, and "" for what they should not."""

    text: str
    itself: str
    following: str


@dataclass(frozen=True, slots=True)
class Passage:
    """Ids of a passage, of what describes it and of what follows it; empty where nothing does."""

    text: Ids
    itself: Ids
    following: Ids


Documents = Sequence[str] | Sequence[Pair]


def read_documents(settings: PassageDataSettings) -> Documents:
    """The texts or pairs of a file, or of all `*.jsonl` and `*.jsonl.gz` of a folder.

    Raises:
        ExamplesError: with all that is wrong, each with file and line.
        InputError: if there is no such file or folder.
    """
    if settings.kind == "text":
        return read_texts(settings.path)
    reading = Reading(settings.path)
    pairs = [_pair(row) for file in example_files(settings.path) for row in reading.rows(file)]
    if not pairs:
        reading.problem("no pair", Path(settings.path))
    try:
        reading.raise_problems()
    except DataSetError as error:  # its message speaks of measuring
        raise ExamplesError(settings.path, error.problems, error.num_problems) from None
    return pairs


def split_documents(documents: Documents, settings: PassageDataSettings, *, seed: int) -> tuple[Documents, Documents]:
    """What is trained on, and what is held out.

    Raises:
        ConfigError: if nothing is left to train on.
    """
    chosen = held_out_numbers(settings.name, len(documents), held_out=settings.held_out, seed=seed)
    train = [document for number, document in enumerate(documents) if number not in chosen]
    return train, [documents[number] for number in sorted(chosen)]  # pyright: ignore[reportReturnType]


def passages_of(
    documents: Documents, settings: PassageDataSettings, tokenizer: PreTrainedTokenizerFast, *, room: int
) -> list[Passage]:
    """All passages, of at most `passage_tokens` or `room` tokens each.

    A text is tokenised whole and cut every so many tokens; a passage's next is the one behind it in the text. A pair's
    parts are cut to that length.

    Raises:
        ConfigError: if `passage_tokens` is more than `room`.
    """
    size = settings.passage_tokens or room
    if size > room:
        raise ConfigError(
            f"data.{settings.name}.passage_tokens is {size}; expected at most {room}, which model.max_length leaves "
            "beside the prompts."
        )
    found: list[Passage] = []
    for start in range(0, len(documents), _BLOCK):
        block = documents[start : start + _BLOCK]
        texts = [document for document in block if isinstance(document, str)]
        for ids in _encoded(texts, tokenizer):
            found += _cut(ids, size=size, min_tokens=settings.min_tokens)
        pairs = [document for document in block if isinstance(document, Pair)]
        parts = (_encoded([getattr(pair, part) for pair in pairs], tokenizer) for part in Pair.__slots__)
        found += [Passage(*(ids[:size] for ids in each)) for each in zip(*parts, strict=True)]
    return found


def _cut(ids: Ids, *, size: int, min_tokens: int) -> list[Passage]:
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]
    if parts and len(parts[-1]) < min(min_tokens, size):
        parts.pop()
    if not parts:
        return []
    nothing = np.empty(0, dtype=np.int32)
    return [Passage(part, part, after) for part, after in zip(parts, [*parts[1:], nothing], strict=True)]


def _encoded(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    return [np.array(ids, dtype=np.int32) for ids in encode(tokenizer, texts)]


def _pair(row: Row) -> Pair:
    text = row.text("input", may_be_blank=False)
    pair = Pair(text, row.text("output_summarize", text), row.text("output_predict", ""))
    if not pair.itself.strip() and not pair.following.strip():
        row.problem("'output_summarize' and 'output_predict' are blank; expected at least one to predict")
    return pair
