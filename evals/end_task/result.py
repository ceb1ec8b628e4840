"""What one condition of an end task gave: a value per example, from which means and paired tests are made."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from evals.records import Values

ItemT = TypeVar("ItemT")

Retrieved = Mapping[str, Sequence[str]]
"""Example id -> texts, best first. An example that is not there gets nothing: an empty mapping is no retrieval."""

RetrievedPositions = Mapping[str, Sequence[int]]
"""Id -> positions among the candidates of that id, best first; likewise."""

Advance = Callable[[int], None]
"""Called with the number of examples that were just finished."""

LOWER_IS_BETTER = frozenset({"nll", "perplexity", "perplexity_by_token"})
"""Names of values and summaries that fall as the model gets better; all others rise."""

BLOCK = 64
"""Examples between two signs of progress; their texts are scored together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTaskResult:
    """One language model, one task, one condition ("none", "random", "oracle", or the name of a system).

    `key` names the data set, empty where examples came from elsewhere. `values` are per example; `summary` holds the
    figures of the paper's table and `breakdown` those of its parts (subjects, categories, tasks). `num_scored_tokens`
    are the tokens whose likelihood, or which themselves, counted.
    `skipped` are ids that the protocol leaves out. `seconds` is wall time without retrieval.
    """

    task: str
    key: str = ""
    condition: str
    language_model: str
    values: Values
    summary: Mapping[str, float]
    breakdown: Mapping[str, float] = field(default_factory=dict)
    num_scored_tokens: int
    seconds: float
    skipped: Sequence[str] = ()


def perplexities(nll: Mapping[str, float], num_tokens: Mapping[str, int]) -> dict[str, float]:
    """Mean NLL; exp of that mean, which is what papers print; and exp of the mean in which long examples weigh more."""
    mean = average(nll.values())
    total = sum(num_tokens[id_] for id_ in nll)
    by_token = sum(value * num_tokens[id_] for id_, value in nll.items()) / total if total else math.nan
    return {"nll": mean, "perplexity": _exp(mean), "perplexity_by_token": _exp(by_token)}


def average(values: Iterable[float]) -> float:
    """The mean; NaN of nothing."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else math.nan


def in_blocks(items: Sequence[ItemT], advance: Advance) -> Iterator[Sequence[ItemT]]:
    """Blocks of the items; `advance` hears of each once it is done."""
    for start in range(0, len(items), BLOCK):
        block = items[start : start + BLOCK]
        yield block
        advance(len(block))


def silent(_: int) -> None:
    """Progress that nobody watches."""


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
