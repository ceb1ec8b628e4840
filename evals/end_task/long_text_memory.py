"""Continuing a long text with retrieved earlier chunks: long-range language modelling as LLM-Embedder measures it.

(arXiv 2310.07554, 4.1, after Retrieval-Pretrained Transformer, Rubin and Berant 2023.) For each target chunk the model
reads the retrieved chunks with their continuations, then the window before the target; the loss counts on the target.
"""

import time
from collections.abc import Mapping, Sequence

from evals.end_task.long_text_chunks import PAPER, ChunkedText, LongTextSettings
from evals.end_task.result import Advance, EndTaskResult, RetrievedPositions, perplexities, silent
from evals.language_model.protocol import Continuation, LanguageModel
from rag_embedder.errors import InputError

TASK = "long-text-memory"


def recency(texts: Sequence[ChunkedText], k: int) -> dict[str, list[int]]:
    """For each target the keys whose pairs are the text just before the window, latest first: a longer window."""
    return {
        text.target_id(target): list(range(text.num_keys - 1, -1, -2))[:k] for text in texts for target in text.targets
    }


def oracle(
    lm: LanguageModel,
    texts: Sequence[ChunkedText],
    *,
    settings: LongTextSettings = PAPER,
    advance: Advance = silent,
) -> dict[str, list[int]]:
    """For each target all keys, each pair tried alone, the one with the lowest loss first.

    That is one pass of the model for every key of every target: 1,912 for a text with the paper's constants.
    """
    found: dict[str, list[int]] = {}
    for text in texts:
        for target in text.targets:
            tried = [_request(text, target, [key], settings) for key in range(text.num_keys)]
            losses = [score.mean_nll for score in lm.log_likelihoods(tried)]
            found[text.target_id(target)] = sorted(range(len(losses)), key=losses.__getitem__)
        advance(1)
    return found


def evaluate(
    lm: LanguageModel,
    texts: Sequence[ChunkedText],
    retrieved: RetrievedPositions,
    *,
    condition: str,
    settings: LongTextSettings = PAPER,
    skipped: Sequence[str] = (),
    advance: Advance = silent,
) -> EndTaskResult:
    """Perplexity of the targets. Values per text: "nll", the mean over the tokens of all its targets.

    `retrieved` maps `ChunkedText.target_id` to keys, best first. Texts with few chunks have few keys, or none: what
    exists is taken. The first token of a text has nothing before it and is not scored.

    Raises:
        InputError: for a number that is not one of the text's keys.
    """
    check_keys(texts, retrieved)
    start = time.perf_counter()
    nll: dict[str, float] = {}
    num_tokens: dict[str, int] = {}
    for text in texts:
        requests = [
            _request(text, target, list(retrieved.get(text.target_id(target), ()))[: settings.num_retrieved], settings)
            for target in text.targets
        ]
        scores = lm.log_likelihoods(requests)
        num_tokens[text.id] = sum(score.num_tokens for score in scores)
        nll[text.id] = -sum(score.log_likelihood for score in scores) / num_tokens[text.id]
        advance(1)
    return EndTaskResult(
        task=TASK,
        condition=condition,
        language_model=lm.name,
        values={"nll": nll},
        summary=perplexities(nll, num_tokens),
        num_scored_tokens=sum(num_tokens.values()),
        seconds=time.perf_counter() - start,
        skipped=tuple(skipped),
    )


def key_texts(lm: LanguageModel, text: ChunkedText) -> list[str]:
    """What is indexed: the text of every key, in order."""
    return lm.decode(text.chunks[: text.num_keys])


def query_texts(lm: LanguageModel, text: ChunkedText) -> dict[str, str]:
    """What is searched for: the chunk before each target, by the target's id; none where there are no keys."""
    if not text.num_keys:
        return {}
    texts = lm.decode([text.chunks[target - 1] for target in text.targets])
    return {text.target_id(target): content for target, content in zip(text.targets, texts, strict=True)}


def check_keys(texts: Sequence[ChunkedText], retrieved: Mapping[str, Sequence[int]]) -> None:
    """Raise InputError for a retrieved number that is no key of its text."""
    for text in texts:
        for target in text.targets:
            wrong = [key for key in retrieved.get(text.target_id(target), ()) if not 0 <= key < text.num_keys]
            if wrong:
                raise InputError(f"text {text.id}: chunk {wrong[0]} is none of its {text.num_keys} keys.")


def _request(text: ChunkedText, target: int, keys: Sequence[int], settings: LongTextSettings) -> Continuation:
    ordered = sorted(keys) if settings.order == "position" else list(keys)[::-1]
    numbers = [number for key in ordered for number in (key, key + 1)]
    if settings.merge_overlaps:
        numbers = list(dict.fromkeys(numbers))
    context = [*text.ids(numbers), *text.window_before(target)]
    scored = text.chunks[target]
    if not context:
        context, scored = [scored[0]], scored[1:]
    return Continuation(context, scored)
