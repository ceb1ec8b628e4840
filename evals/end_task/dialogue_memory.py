"""The next turn of a long dialogue with retrieved earlier turns: Multi-Session Chat as LLM-Embedder measures it.

(arXiv 2310.07554, 4.1; MSC: Xu et al. 2022.) The loss counts on the answer's tokens only. Also for questions about a
long conversation whose windows are the memories.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evals.end_task.result import Advance, EndTaskResult, RetrievedPositions, in_blocks, perplexities, silent
from evals.language_model.protocol import Continuation, LanguageModel
from rag_embedder.errors import ConfigError, InputError

TASK = "dialogue-memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueExample:
    """One turn with what was said before it, oldest first. With several answers, their mean NLL counts."""

    id: str
    history: Sequence[str]
    query: str
    answers: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueSettings:
    """The paper's: one memory, two speakers, 2,048 tokens.

    `current` is filled with {query}; the answer follows a space. Memories stand in the order of the dialogue
    ("position"), or the most relevant last ("relevance").
    """

    current: str = "Speaker 1: {query}\nSpeaker 2:"
    num_memories: int = 1
    order: Literal["position", "relevance"] = "position"
    budget: int = 2048


def recent(examples: Sequence[DialogueExample], k: int) -> dict[str, list[int]]:
    """The last `k` turns of each dialogue, the newest first."""
    return {example.id: list(range(len(example.history)))[::-1][:k] for example in examples}


def oracle(
    lm: LanguageModel,
    examples: Sequence[DialogueExample],
    *,
    settings: DialogueSettings | None = None,
    advance: Advance = silent,
) -> dict[str, list[int]]:
    """All turns of each dialogue, each tried alone, the one with the lowest loss first: what retrieval could reach."""
    settings = settings or DialogueSettings()
    found: dict[str, list[int]] = {}
    for example in examples:
        tried = [_requests(example, [position], settings) for position in range(len(example.history))]
        losses, _ = _losses(lm, tried, settings)
        found[example.id] = sorted(range(len(losses)), key=losses.__getitem__)
        advance(1)
    return found


def evaluate(
    lm: LanguageModel,
    examples: Sequence[DialogueExample],
    retrieved: RetrievedPositions,
    *,
    condition: str,
    settings: DialogueSettings | None = None,
    advance: Advance = silent,
) -> EndTaskResult:
    """Perplexity of the answers. Values per example: "nll", the mean over its answers' tokens.

    Raises:
        InputError: for an example without an answer, or a position outside its history.
        ConfigError: if an answer does not fit into the budget.
    """
    settings = settings or DialogueSettings()
    check_examples(lm, examples, retrieved, settings)
    start = time.perf_counter()
    nll: dict[str, float] = {}
    num_tokens: dict[str, int] = {}
    for block in in_blocks(examples, advance):
        requests = [
            _requests(example, list(retrieved.get(example.id, ()))[: settings.num_memories], settings)
            for example in block
        ]
        losses, counts = _losses(lm, requests, settings)
        nll.update(zip((example.id for example in block), losses, strict=True))
        num_tokens.update(zip((example.id for example in block), counts, strict=True))
    return EndTaskResult(
        task=TASK,
        condition=condition,
        language_model=lm.name,
        values={"nll": nll},
        summary=perplexities(nll, num_tokens),
        num_scored_tokens=sum(num_tokens.values()),
        seconds=time.perf_counter() - start,
    )


def check_examples(
    lm: LanguageModel,
    examples: Sequence[DialogueExample],
    retrieved: Mapping[str, Sequence[int]],
    settings: DialogueSettings,
) -> None:
    """Raise before anything is scored; errors as for `evaluate`."""
    room = min(settings.budget, lm.max_length)
    for example in examples:
        if not example.answers or not all(answer.strip() for answer in example.answers):
            raise InputError(f"example {example.id} has no answer, or an empty one; expected text: leave it out.")
        outside = [place for place in retrieved.get(example.id, ()) if not 0 <= place < len(example.history)]
        if outside:
            raise InputError(f"example {example.id}: memory {outside[0]} is none of its {len(example.history)}.")
        longest = max(lm.count_tokens([f" {answer.strip()}" for answer in example.answers]))
        if longest >= room:
            raise ConfigError(f"example {example.id}: an answer has {longest} tokens; expected less than {room}.")


def _requests(example: DialogueExample, memories: Sequence[int], settings: DialogueSettings) -> list[Continuation]:
    ordered = sorted(memories) if settings.order == "position" else list(memories)[::-1]
    lines = [*(example.history[place] for place in ordered), settings.current.format(query=example.query)]
    context = "\n".join(lines)
    return [Continuation(context, f" {answer.strip()}") for answer in example.answers]


def _losses(
    lm: LanguageModel, requests: Sequence[Sequence[Continuation]], settings: DialogueSettings
) -> tuple[list[float], list[int]]:
    """Mean NLL of each example, over its answers, and its number of scored tokens."""
    scores = iter(lm.log_likelihoods([one for each in requests for one in each], max_length=settings.budget))
    grouped = [[next(scores) for _ in each] for each in requests]
    return (
        [sum(score.mean_nll for score in group) / len(group) for group in grouped],
        [sum(score.num_tokens for score in group) for group in grouped],
    )
