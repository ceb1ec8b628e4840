"""How a long text is cut for long_text_memory.py: what is memory, what the model always reads, what is scored.

With the paper's constants a text of 32,768 tokens has 256 chunks of 128:

    0 ...................... 239 | 240 ......... 247 | 248 ......... 255
    memory: 240 values, of which   window of 16 chunks; the last 8 are the targets, and the query of each target is
    the first 239 are keys         the chunk before it

A value is a key's continuation, so every key has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from evals.datasets.texts import LongText
from evals.language_model.protocol import LanguageModel
from rag_embedder.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class LongTextSettings:
    """Lengths in tokens; the defaults are the paper's (LLM-Embedder, arXiv 2310.07554, appendix).

    Retrieved pairs of chunk and continuation stand in the order of the text ("position") or the most relevant last
    ("relevance"). With `merge_overlaps` a chunk that two pairs share is read once; the paper reads it twice.

    Raises:
        ConfigError: if the lengths do not fit each other.
    """

    document_tokens: int = 32_768
    window_tokens: int = 2048
    target_tokens: int = 1024
    chunk_tokens: int = 128
    num_retrieved: int = 8
    max_characters: int = 160_000
    order: Literal["position", "relevance"] = "position"
    merge_overlaps: bool = False

    def __post_init__(self) -> None:
        lengths = (self.target_tokens, self.window_tokens, self.document_tokens)
        if self.chunk_tokens < 2 or any(length % self.chunk_tokens for length in lengths):
            raise ConfigError(f"lengths {lengths} are not whole chunks of {self.chunk_tokens} tokens.")
        if not 0 < self.target_tokens < self.window_tokens <= self.document_tokens:
            raise ConfigError(f"lengths {lengths}: expected target < window <= document, all above 0.")

    @property
    def input_tokens(self) -> int:
        """The longest input: all pairs and the whole window."""
        return self.window_tokens + 2 * self.num_retrieved * self.chunk_tokens


PAPER = LongTextSettings()
SMALL = LongTextSettings(
    document_tokens=8192,
    window_tokens=512,
    target_tokens=256,
    chunk_tokens=64,
    num_retrieved=4,
    max_characters=60_000,
)
"""For models that read 1,024 tokens, and for CPUs: 120 values, 4 targets, inputs of at most 1,024 tokens."""


@dataclass(frozen=True, slots=True)
class ChunkedText:
    """Chunks of token ids, oldest first; only the first may be shorter than the others."""

    id: str
    chunks: tuple[tuple[int, ...], ...]
    num_window_chunks: int
    num_target_chunks: int

    @property
    def num_values(self) -> int:
        """Chunks that are memory: those before the window."""
        return max(0, len(self.chunks) - self.num_window_chunks)

    @property
    def num_keys(self) -> int:
        """Chunks that can be found: those whose continuation is memory too."""
        return max(0, self.num_values - 1)

    @property
    def targets(self) -> range:
        """Numbers of the chunks that are scored."""
        return range(len(self.chunks) - self.num_target_chunks, len(self.chunks))

    def target_id(self, target: int) -> str:
        """What retrieval calls the query of one target."""
        return f"{self.id}#{target}"

    def window_before(self, target: int) -> list[int]:
        """Ids of the window up to a target; what follows the target cannot change its loss and is not read."""
        return self.ids(range(self.num_values, target))

    def ids(self, numbers: Sequence[int]) -> list[int]:
        """Ids of some chunks, one after the other."""
        return [token for number in numbers for token in self.chunks[number]]


def cut(
    lm: LanguageModel, texts: Sequence[LongText], settings: LongTextSettings
) -> tuple[list[ChunkedText], list[str]]:
    """The texts in chunks, and the ids of those that are too short to have all targets.

    Raises:
        ConfigError: if the model reads less than the longest input.
    """
    if settings.input_tokens > lm.max_length:
        raise ConfigError(
            f"inputs of {settings.input_tokens} tokens, but {lm.name} reads {lm.max_length}. Expected smaller lengths: "
            "lower num_retrieved, or use the small preset."
        )
    chunked, too_short = [], []
    for text in texts:
        ids = lm.tokenize([text.text[: settings.max_characters]])[0][-settings.document_tokens :]
        if len(ids) < settings.target_tokens:
            too_short.append(text.id)
        else:
            chunked.append(chunk(text.id, ids, settings))
    return chunked, too_short


def chunk(id_: str, ids: Sequence[int], settings: LongTextSettings) -> ChunkedText:
    """Cut ids into chunks that end where the text ends."""
    size = settings.chunk_tokens
    first = len(ids) % size or size
    bounds = [0, *range(first, len(ids) + 1, size)]
    chunks = tuple(tuple(ids[start:stop]) for start, stop in pairwise(bounds))
    return ChunkedText(id_, chunks, settings.window_tokens // size, settings.target_tokens // size)
