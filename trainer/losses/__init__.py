"""Losses of one batch, one file each, and how a data set weighs them.

Every loss is called as `LOSSES[name](scores, own, rewards, mask, options=settings)` and returns a `LossOutput`:
the mean over queries, and a value per query.

    scores   (B, N) float   cosine of B queries and N documents, divided by the student temperature
    own      (B, G) int64   columns of each query's own candidates, distinct within a row, the positive in slot 0
    rewards  (B, G) float   higher is better; None if the data set has none. A row of NaN has none: nothing is distilled
    mask     (B, N) bool    columns that may be negatives. False in an own column: a copy of an earlier own candidate

B counts the queries of this process, N the documents of all processes (`trainer.distributed.gather_with_gradient`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from rag_embedder.errors import ConfigError
from rag_embedder.registry import Registry, unknown_name

LOSSES = Registry(
    "loss",
    {
        "contrastive": "trainer.losses.contrastive:contrastive",
        "cross_entropy": "trainer.losses.cross_entropy:cross_entropy",
        "kl_distillation": "trainer.losses.kl_distillation:kl_distillation",
        "stabilized_distillation": "trainer.losses.stabilized_distillation:stabilized_distillation",
        "graded_distillation": "trainer.losses.graded_distillation:graded_distillation",
    },
)

_FROM_LABELS = ("contrastive", "cross_entropy")
"""Losses that read no rewards."""

TIES = ("exclude", "order")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """How one data set is fitted: the weight of each loss, and the temperatures.

    A weight always multiplies its loss, also when it is the only one. Temperatures divide: cosines are divided by
    `student_temperature`, rewards by `reward_temperature` before their softmax. `ties` says what equal rewards mean to
    graded distillation: "exclude" makes such candidates no negatives of each other, "order" keeps the order they came
    in. `pin_positive` leaves the positive first in stabilized distillation, whatever its reward. Without a corpus that
    all queries share, other queries' documents mean nothing: `in_batch_negatives=False` leaves them out.

    Raises:
        ConfigError: for an unknown loss or tie rule, a weight that is negative, or a temperature that is not positive.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"contrastive": 1.0})
    student_temperature: float = 0.01
    reward_temperature: float = 1.0
    ties: str = "exclude"
    pin_positive: bool = False
    in_batch_negatives: bool = True

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if name not in LOSSES:
                raise unknown_name("loss", name, list(LOSSES))
            if not _is_number(weight) or weight < 0:
                raise ConfigError(f"the weight of loss {name!r} is {weight!r}; expected a number, 0 or above")
        if not any(weight > 0 for weight in self.weights.values()):
            raise ConfigError(
                f"no loss has a weight above 0 in {dict(self.weights)}; give at least one of: {', '.join(LOSSES)}"
            )
        for name in ("student_temperature", "reward_temperature"):
            if not _is_number(value := getattr(self, name)) or value <= 0:
                raise ConfigError(f"{name} is {value!r}; expected a number above 0")
        if self.ties not in TIES:
            raise unknown_name("ties", self.ties, list(TIES))

    @property
    def needs_rewards(self) -> bool:
        """Whether a loss with a weight above 0 distils, so that every example must have been scored."""
        return any(weight > 0 and name not in _FROM_LABELS for name, weight in self.weights.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
