"""What prompts share: a block of knowledge that is cut to the room it has."""

from collections.abc import Callable, Sequence

from evals.language_model.protocol import LanguageModel

START_TOKENS = 1
"""Room kept for the token that the model puts before a text."""


def num_tokens(lm: LanguageModel, text: str) -> int:
    """Tokens of one text, without special tokens."""
    return lm.count_tokens([text])[0]


def first_tokens(lm: LanguageModel, text: str, count: int) -> str:
    """The text up to its `count`-th token."""
    ids = lm.tokenize([text])[0]
    return text if len(ids) <= count else lm.decode([ids[:count]])[0]


def fit_knowledge(lm: LanguageModel, passages: Sequence[str], build: Callable[[str], str], *, room: int) -> str:
    """`build(knowledge)`, where the knowledge, one passage a line, loses its end until the whole has `room` tokens.

    Where even nothing of it fits, `build("")`: then the prompt is too long by itself, and loses its beginning.
    """
    knowledge = "\n".join(passages)
    while knowledge:
        prompt = build(knowledge)
        excess = num_tokens(lm, prompt) + START_TOKENS - room
        if excess <= 0:
            return prompt
        count = num_tokens(lm, knowledge)
        shorter = first_tokens(lm, knowledge, count - excess) if count > excess else ""
        # A decoded text may have more tokens than the ids it came from; then one token less.
        knowledge = shorter if len(shorter) < len(knowledge) else first_tokens(lm, knowledge, count - excess - 1)
    return build("")
