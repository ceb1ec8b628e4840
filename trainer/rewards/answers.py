"""Expected outputs: which of several count, and how their values become one."""

import random
from collections.abc import Sequence

from evals.language_model.protocol import LanguageModel
from rag_embedder.errors import InputError
from trainer.examples import Example
from trainer.rewards.protocol import AnswerRule
from trainer.templates import Template


def chosen_answers(example: Example, rule: AnswerRule, *, seed: int) -> tuple[str, ...]:
    """The expected outputs that are scored: one drawn from (seed, id of the example), or all of them."""
    if rule == "draw":
        return (random.Random(f"{seed} {example.id}").choice(list(example.answers)),)
    return tuple(dict.fromkeys(example.answers))


def combined(values: Sequence[float], rule: AnswerRule) -> float:
    """One value for a candidate: the best or the mean over the expected outputs."""
    return max(values) if rule == "max" else sum(values) / len(values)


def check_answers(
    lm: LanguageModel, template: Template, examples: Sequence[Example], *, room: int, block: int = 1024
) -> None:
    """Raise InputError for an example without answers, with an empty one, or one that does not fit into the model."""
    for example in examples:
        if not example.answers:
            raise InputError(
                f"example {example.id} has no answers; expected at least one output to score. "
                "Leave it out, or use the reward labels or reranker."
            )
        if not all(template.output(answer).strip() for answer in example.answers):
            raise InputError(f"example {example.id} has an empty answer; expected text: leave it out.")
    for start in range(0, len(examples), block):
        owners = [(example.id, answer) for example in examples[start : start + block] for answer in example.answers]
        counts = lm.count_tokens([template.output(answer) for _, answer in owners])
        for (name, _), count in zip(owners, counts, strict=True):
            if count >= room:
                raise InputError(
                    f"example {name}: an answer has {count} tokens; expected less than {room}, which the model reads. "
                    "Answers are never cut: leave it out, or use a model that reads more."
                )
