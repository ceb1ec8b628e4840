"""What evaluation, and training's rewards, need of a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rag_embedder.errors import ConfigError, RagEmbedderError

TextOrIds = str | Sequence[int]


class LanguageModelError(RagEmbedderError):
    """A language model did not answer, or its answer cannot be used."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What is read and what is scored: log p(continuation | context).

    The ids of both are concatenated, so the scored span is exactly the continuation's own ids. A text that follows a
    word begins with its space (" Paris" after "A:"). A context that is text gets the model's start token, if it has
    one, a context of ids is taken as it is. When both are too long, the context loses its beginning (the start token
    stays); a continuation never loses anything.
    """

    context: TextOrIds
    continuation: TextOrIds


@dataclass(frozen=True, slots=True)
class Score:
    """`log_likelihood` is the sum over `num_tokens` tokens, in nats; `is_greedy` if each was the likeliest one."""

    log_likelihood: float
    num_tokens: int
    is_greedy: bool

    @property
    def mean_nll(self) -> float:
        """Negative log-likelihood per token."""
        return -self.log_likelihood / self.num_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How outputs are sampled: `count` of each prompt, each up to the first of the `stop` texts or the end token.

    Raises:
        ConfigError: for a number out of its range.
    """

    count: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"sampling: {name} is {getattr(self, name)}; expected {least} or more.")
        if not 0.0 < self.temperature < float("inf"):
            raise ConfigError(
                f"sampling: temperature is {self.temperature}; expected more than 0: 1 is the model's own."
            )
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(
                f"sampling: top_p is {self.top_p}; expected more than 0 and at most 1: 1 is the model's own."
            )


class LanguageModel(Protocol):
    """A causal language model. Answers depend neither on the batch nor on the order of what is asked."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever its answers may change."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens it reads, start token and continuation included."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens."""
        ...

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each row of ids, special tokens left out."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        ...

    def log_likelihoods(self, requests: Sequence[Continuation], *, max_length: int | None = None) -> list[Score]:
        """One score per request, in order; `max_length` lowers the model's own limit.

        Raises:
            InputError: for a continuation without tokens, or one that alone is too long.
        """
        ...

    def token_log_likelihoods(self, ids: Sequence[int], score_from: int) -> list[float]:
        """Log p(ids[i] | ids[:i]) for i = `score_from` .. end, in nats; `score_from` is at least 1.

        Raises:
            InputError: if `ids` is longer than `max_length`, or `score_from` lies outside it.
        """
        ...

    def generate(
        self, prompts: Sequence[str], *, max_new_tokens: int, stop: Sequence[str] = (), max_length: int | None = None
    ) -> list[str]:
        """Greedy decoding up to the first of the `stop` texts (left out) or the end token; new text only.

        Prompts lose their beginning where prompt and `max_new_tokens` together are longer than the limit.
        """
        ...

    def sample(
        self, prompts: Sequence[str], sampling: Sampling, *, seeds: Sequence[str], max_length: int | None = None
    ) -> list[list[str]]:
        """`sampling.count` outputs of each prompt, new text only; the same for the same seed of that prompt.

        Prompts lose their beginning as for `generate`.

        Raises:
            ConfigError: if this model cannot sample.
        """
        ...
