"""What training reads: a query, the outputs that are expected for it, and candidates with labels or rewards."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A document that may help with a query.

    `label` above 0 says that it is known to be relevant; 0 that nobody said so. `continuation` is the text that follows
    it in its source, which long-range language modelling shows to the language model too.
    """

    id: str
    text: str
    label: int = 0
    continuation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training example of one data set.

    `query` is the text that is encoded, dialogue history included, without instruction. `prompt` is what a language
    model is asked, if that is another text; `answers` are outputs it should give. `rewards` belong to `candidates`,
    one each, higher is better; None before scoring.
    """

    id: str
    query: str
    candidates: Sequence[Candidate]
    answers: Sequence[str] = ()
    prompt: str = ""
    rewards: Sequence[float] | None = None
