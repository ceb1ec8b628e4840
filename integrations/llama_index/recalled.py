"""Recalled memories as text that can be made again in fewer tokens."""

from dataclasses import dataclass
from typing import Self

from llama_index.core.utils import get_tokenizer

from integrations.memory_text import without_tags
from rag_embedder.retrievers.memory import MemoryRetriever
from rag_embedder.types import Turn

_TRIES = 8
"""How often a text is made again to fit: enough to halve a budget of 256 tokens down to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """What is asked of a memory for one call of a model; see `MemoryRetriever.context`."""

    retriever: MemoryRetriever
    query: str
    user: str
    session: str | None
    visible: tuple[Turn, ...]
    k: int
    recency: float
    score_threshold: float | None
    header: str
    tags: tuple[str, ...]
    """Names of the tags that the text will stand in; no memory can open or close one."""

    def text(self, max_tokens: int) -> str:
        """The header and the best memories that fit into `max_tokens`, in time order; empty if there are none."""
        memories = self.retriever.context(
            self.query,
            user=self.user,
            session=self.session,
            visible=self.visible,
            max_tokens=max_tokens,
            k=self.k,
            recency=self.recency,
            score_threshold=self.score_threshold,
        )
        if not memories:
            return ""
        memories = without_tags(memories, *self.tags)
        return RecalledText(f"{self.header}\n\n{memories}" if self.header else memories, self)

    def within(self, room: int, max_tokens: int) -> str | None:
        """The same in at most `room` tokens of LlamaIndex's tokenizer, header included; None if nothing fits."""
        # The two tokenizers count differently, so the budget of ours that comes nearest is searched for.
        num_tokens, best = get_tokenizer(), ""
        fits, fails = 0, min(room, max_tokens) + 1
        budget = fails - 1
        for _ in range(_TRIES):
            if budget <= fits:
                break
            text = self.text(budget)
            if len(num_tokens(text)) <= room:
                fits, best = budget, text
            else:
                fails = budget
            budget = (fits + fails) // 2
        return best or None


class RecalledText(str):
    """Text that knows what it was recalled for: `Memory` hands it back to its block when it must become shorter."""

    recall: Recall

    def __new__(cls, text: str, recall: Recall) -> Self:
        """`text` as it is; `recall` is what makes it again."""
        recalled = super().__new__(cls, text)
        recalled.recall = recall
        return recalled

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)
