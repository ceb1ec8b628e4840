"""What a recipe of a language model can say, as frozen records that check their own values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import SCENARIO_NAMES
from trainer.value_checks import above_zero, at_least, is_name, no_duplicates


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSettings:
    """The model. Sizes and `vocabulary_size` are for `init` "scratch", `base` (folder, hub id) for "encoder".

    `max_length` is tokens in a row and what the model reads; `dtype` is what a pass computes in, weights are float32.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    init: Literal["scratch", "encoder"] = "scratch"
    base: str | None = None
    layers: int = 6
    width: int = 384
    heads: int = 6
    vocabulary_size: int = 16_000
    max_length: int = 512
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name, low in (("layers", 1), ("heads", 1), ("vocabulary_size", 258), ("max_length", 8)):
            at_least(f"model.{name}", getattr(self, name), low)
        if self.width < 1 or self.width % (2 * self.heads):
            raise ConfigError(
                f"model.width is {self.width}; expected a multiple of 2 x model.heads = {2 * self.heads}."
            )
        if self.base is not None and self.init == "scratch":
            raise ConfigError('model.base is for model.init = "encoder"; expected none with "scratch".')


MAY_CHANGE = ("log_every", "eval_every", "save_every", "keep")
"""Train settings with which a run may be continued although they are others than at its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModelTrainSettings:
    """How it is trained. `tokens_per_step` is rounded up to whole rows; `warmup` is a share of `steps`.

    `schedule` is what follows the warm-up. Off at 0: `clip` (largest gradient norm), `eval_every` and `save_every`
    (the last step is always evaluated and saved). `keep` is the number of checkpoints that stay.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    out: str
    steps: int
    tokens_per_step: int = 8192
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup: float = 0.02
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 42
    eval_every: int = 0
    save_every: int = 500
    keep: int = 2
    log_every: int = 10

    def __post_init__(self) -> None:
        if not self.out:
            raise ConfigError("train.out is empty; expected a path.")
        for name in ("steps", "tokens_per_step", "keep", "log_every"):
            at_least(f"train.{name}", getattr(self, name), 1)
        for name in ("weight_decay", "clip", "seed", "eval_every", "save_every"):
            at_least(f"train.{name}", getattr(self, name), 0)
        above_zero("train.learning_rate", self.learning_rate)
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"train.warmup is {self.warmup}; expected a share from 0 to below 1.")

    def fixed_part(self) -> "LanguageModelTrainSettings":
        """The same with the defaults of what may change when a run is continued."""
        defaults = {spec.name: spec.default for spec in fields(self) if spec.name in MAY_CHANGE}
        return replace(self, **defaults)

    def rows_per_step(self, length: int) -> int:
        """Rows of `length` tokens that one step reads."""
        return math.ceil(self.tokens_per_step / length)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDataSettings:
    """One data set: JSONL with `text` (kind "text"), or training examples of a `scenario` (kind "examples").

    `weight` is the share of rows, relative to the other sets. `held_out` documents, drawn with the seed, are evaluated
    and never trained on. Of examples, tokens of the output count `output_weight` in the loss, those before it
    `context_weight`.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    name: str
    path: str
    kind: Literal["text", "examples"]
    scenario: str | None = None
    weight: float = 1.0
    held_out: int = 0
    output_weight: float = 1.0
    context_weight: float = 0.2

    def __post_init__(self) -> None:
        is_name("data.name", self.name)
        key = f"data.{self.name}"
        if not self.path:
            raise ConfigError(f"{key}.path is empty; expected a path.")
        above_zero(f"{key}.weight", self.weight)
        at_least(f"{key}.held_out", self.held_out, 0)
        above_zero(f"{key}.output_weight", self.output_weight)
        at_least(f"{key}.context_weight", self.context_weight, 0)
        if self.kind == "examples" and self.scenario is None:
            raise ConfigError(f"{key}.scenario is missing; expected one of: {', '.join(SCENARIO_NAMES)}.")
        if self.kind == "text" and self.scenario is not None:
            raise ConfigError(f'{key}.scenario is for kind = "examples"; expected none with "text".')
        if self.scenario is not None and self.scenario not in SCENARIO_NAMES:
            raise unknown_name(f"scenario in {key}.scenario:", self.scenario, [*SCENARIO_NAMES])


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModelRecipe:
    """Everything a run depends on besides the data's bytes and the machine; `source` is its file, for messages.

    Raises:
        ConfigError: if there is no data set, or two share a name.
    """

    model: DecoderSettings
    train: LanguageModelTrainSettings
    data: Sequence[TextDataSettings]
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        names = [settings.name for settings in self.data]
        if not names:
            raise ConfigError("data is empty; expected one [[data]] table per data set.")
        no_duplicates("data", names)

    @property
    def rows_per_step(self) -> int:
        """Rows of `max_length` tokens that one step reads."""
        return self.train.rows_per_step(self.model.max_length)
