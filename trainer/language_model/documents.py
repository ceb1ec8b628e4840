"""What a data set gives the model to read: token sequences with the weight that each token has in the loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

Ids = NDArray[np.int32]
Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """`ids` (n,) from the start to the end token, and the weight of each as something to predict; the first has 0."""

    ids: Ids
    weights: Weights


class SequenceSource(Protocol):
    """A data set to train on. `may_be_cut` says that a sequence may go on in the next row."""

    name: str
    may_be_cut: bool

    def sequences(self, epoch: int) -> Iterator[TokenSequence]:
        """All of it once, in the order of that epoch: a function of seed, name and epoch."""
        ...


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, without special tokens."""
    if not texts:
        return []
    # verbose: it would warn of every text that is longer than the model reads
    made = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [list(ids) for ids in made["input_ids"]]


def start_and_end(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """The ids that a text begins and ends with; every tokenizer here has both."""
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert isinstance(start, int)
    assert isinstance(end, int)
    return start, end


def generator(seed: int, name: str, number: int) -> np.random.Generator:
    """Random numbers of a seed, a name and a number, the same on every machine."""
    return np.random.default_rng([seed, *name.encode(), number])
