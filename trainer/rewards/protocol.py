"""What scoring needs of a reward, and the options from which one is built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from rag_embedder.errors import ConfigError
from trainer.examples import Example

Normalisation = Literal["mean", "sum"]
AnswerRule = Literal["draw", "max", "mean"]
Pool = Literal["shared", "separate"]
RankTies = Literal["optimistic", "mid"]

_CHOICES = {
    "normalisation": ("mean", "sum"),
    "answers": ("draw", "max", "mean"),
    "pool": ("shared", "separate"),
    "rank_ties": ("optimistic", "mid"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardOptions:
    """Everything a reward may be asked for; each reads what it needs.

    `lm` is a folder, a hub id or the address of an OpenAI-compatible server (then `tokenizer` may name its model's
    files); `reranker` a cross-encoder. `answers` says what several expected outputs mean: one drawn with the seed and
    the example's id, the best, or the mean. `candidate_tokens` bounds a candidate, `max_length` the whole.

    Raises:
        ConfigError: for a value that is not among the choices, or a number out of its range.
    """

    scenario: str
    lm: str | None = None
    tokenizer: str | None = None
    reranker: str | None = None
    template: str | None = None
    normalisation: Normalisation = "mean"
    answers: AnswerRule = "draw"
    samples: int = 10
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 64
    pool: Pool = "shared"
    rank_ties: RankTies = "optimistic"
    candidate_tokens: int = 512
    max_length: int | None = None
    batch_tokens: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name}: got {getattr(self, name)!r}; expected one of: {', '.join(choices)}.")
        for name in ("samples", "candidate_tokens", "max_new_tokens", "max_length", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}: got {value}; expected 1 or more.")


class Reward(Protocol):
    """A number for every candidate of an example, higher is better; the same whatever else is asked with it."""

    @classmethod
    def build(cls, options: RewardOptions) -> Self:
        """Load what it needs.

        Raises:
            ConfigError: if an option that it needs is missing.
        """
        ...

    @property
    def settings(self) -> Mapping[str, object]:
        """All that decides its values: model fingerprints, templates, rules. JSON values."""
        ...

    def check(self, examples: Sequence[Example]) -> None:
        """Raise InputError, naming the example, if one of them cannot be scored; before any is."""
        ...

    def rewards(self, examples: Sequence[Example]) -> list[list[float]]:
        """For each example, one reward per candidate, in order."""
        ...
