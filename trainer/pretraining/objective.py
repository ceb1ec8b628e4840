"""What a vector must predict, and how the losses add up: the paper's form, the released code's, or any between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rag_embedder.registry import unknown_name
from trainer.value_checks import above_zero, at_least

Task = str
"""One of `TASKS`."""
TASKS: tuple[Task, ...] = ("self", "next")
"""EBAE: the words of the text itself; EBAR: those of the passage after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """All terms of the loss.

    L = lm_weight * L_AR + (L_self + L_next) / divisor, the two averaged instead of added with `combine` "mean".
    L_task is the mean over texts of -(1/|T|) sum_{t in T} log softmax(z)_t, T the set of the target's token ids, and
    z the logits at the slots: of their mean state ("mean", as a vector is made at retrieval), or the largest of each
    entry over the slots ("max"). L_AR is the mean of -log p over the text's own tokens.
    """

    slot_logits: Literal["mean", "max"]
    combine: Literal["sum", "mean"]
    divisor: float
    lm_weight: float
    stop_words: Literal["keep", "remove"]
    tasks: tuple[Task, ...]


VARIANTS: Mapping[str, Objective] = {
    "paper": Objective(slot_logits="mean", combine="sum", divisor=1.0, lm_weight=0.0, stop_words="keep", tasks=TASKS),
    "released": Objective(
        slot_logits="max", combine="mean", divisor=10.0, lm_weight=1.0, stop_words="remove", tasks=TASKS
    ),
}
"""Llama2Vec, equations 3 to 6; and what the command in the released code's README computes."""

_TASKS: Mapping[str, tuple[Task, ...]] = {"both": TASKS, "self": ("self",), "next": ("next",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSettings:
    """A variant by name, and what is to be otherwise than in it.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    variant: str = "paper"
    tasks: Literal["both", "self", "next"] = "both"
    slot_logits: Literal["mean", "max"] | None = None
    combine: Literal["sum", "mean"] | None = None
    divisor: float | None = None
    lm_weight: float | None = None
    stop_words: Literal["keep", "remove"] | None = None

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise unknown_name("value of objective.variant:", self.variant, list(VARIANTS))
        if self.divisor is not None:
            above_zero("objective.divisor", self.divisor)
        if self.lm_weight is not None:
            at_least("objective.lm_weight", self.lm_weight, 0)

    def resolved(self) -> Objective:
        """The variant with these changes."""
        base = VARIANTS[self.variant]
        return Objective(
            slot_logits=self.slot_logits or base.slot_logits,
            combine=self.combine or base.combine,
            divisor=base.divisor if self.divisor is None else self.divisor,
            lm_weight=base.lm_weight if self.lm_weight is None else self.lm_weight,
            stop_words=self.stop_words or base.stop_words,
            tasks=_TASKS[self.tasks],
        )
