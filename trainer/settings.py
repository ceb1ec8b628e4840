"""What a recipe can say, as frozen records that check their own values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rag_embedder.errors import ConfigError
from rag_embedder.prompt_form import PROMPT_FORMS
from rag_embedder.registry import unknown_name
from rag_embedder.reranker.template import TEMPLATES
from rag_embedder.scenario import INSTRUCTION_SETS, SCENARIO_NAMES, Scenario
from trainer.groups import NegativeRule, PositiveRule
from trainer.kind_rules import check_kind
from trainer.losses import LossSettings
from trainer.usable_examples import Requirements
from trainer.value_checks import above_zero, at_least, check_dims, is_name, no_duplicates, not_empty, share


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The encoder or reranker that is trained.

    `kind` is "encoder", or "reranker" for a model that reads query and text together, as `template` says: a name in
    `TEMPLATES`, None what the base's files say, or else "pair". `base` is a folder or hub id, None the encoder that
    ships with the package. `pooling` and `max_length` (tokens, special ones and prompt included) are the base's own if
    None. `prompt_form` is what a decoder reads around its texts, a name in `PROMPT_FORMS`, None the base's own.
    `instructions` is a named set for the six scenarios; "none" puts nothing in front of a text, None keeps the base's
    own. `trained` "layers" leaves the embeddings as they are; `lora_rank` above 0 trains adapters only (and a
    reranker's head), scaled by `lora_alpha` / `lora_rank` (by 2 if it is None). `dtype` is what the forward pass
    computes in; trained weights and the optimiser stay float32.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    kind: Literal["encoder", "reranker"] = "encoder"
    base: str | None = None
    template: str | None = None
    pooling: Literal["cls", "mean", "last"] | None = None
    prompt_form: str | None = None
    max_length: int | None = None
    instructions: str | None = None
    trained: Literal["all", "layers"] = "all"
    lora_rank: int = 0
    lora_alpha: float | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.max_length is not None:
            at_least("model.max_length", self.max_length, 8)
        at_least("model.lora_rank", self.lora_rank, 0)
        if self.template not in (None, *TEMPLATES):
            raise unknown_name("model.template:", self.template, list(TEMPLATES))
        if self.lora_alpha is not None:
            above_zero("model.lora_alpha", self.lora_alpha)
            if not self.lora_rank:
                raise ConfigError("model.lora_alpha is set, but model.lora_rank is 0; set both, or leave alpha out.")
        if self.prompt_form not in (None, *PROMPT_FORMS):
            raise unknown_name("model.prompt_form:", self.prompt_form, list(PROMPT_FORMS))
        if self.prompt_form is not None and self.pooling not in (None, "last"):
            raise ConfigError(
                f"model.pooling is {self.pooling!r} with model.prompt_form {self.prompt_form!r}; expected no pooling: "
                "a form pools its slots."
            )
        if self.instructions not in (None, *INSTRUCTION_SETS):
            raise unknown_name("model.instructions:", self.instructions, list(INSTRUCTION_SETS))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How it is trained, with the rates of LLM-Embedder (arXiv 2310.07554, table 11) as defaults.

    `batch_size` counts queries per process and `group_size` documents per query, the positive among them; the whole
    batch has batch_size x processes queries. `warmup` is a share of `steps`. `out` is the run's folder. `scenarios`
    trains only the data sets of these, all if it is empty; the dev splits of the others are measured all the same.

    Off at 0: `gradient_cache_chunk` (texts encoded at once), `clip` (largest gradient norm), `ema` (decay per step),
    `eval_every`, `save_every` (steps; the last step is always saved), and `patience` (evaluations without a better
    mean over scenarios before training stops). `keep` is the number of checkpoints that stay, `log_every` is in steps,
    as is `self_paced_every`: how often `SelfPacedRate` stores the losses that later ones are compared with.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    steps: int
    out: str
    scenarios: tuple[str, ...] = ()
    batch_size: int = 32
    group_size: int = 8
    learning_rate: float = 5e-6
    warmup: float = 0.2
    weight_decay: float = 0.01
    seed: int = 42
    gradient_cache_chunk: int = 0
    clip: float = 1.0
    ema: float = 0.0
    self_paced: bool = False
    self_paced_every: int = 1000
    matryoshka_dims: tuple[int, ...] = ()
    eval_every: int = 0
    patience: int = 0
    save_every: int = 1000
    keep: int = 2
    log_every: int = 10

    def __post_init__(self) -> None:
        not_empty("train.out", self.out)
        for name, low in (
            ("steps", 1),
            ("batch_size", 1),
            ("group_size", 2),
            ("keep", 1),
            ("log_every", 1),
            ("self_paced_every", 1),
        ):
            at_least(f"train.{name}", getattr(self, name), low)
        for name in ("seed", "gradient_cache_chunk", "eval_every", "patience", "save_every"):
            at_least(f"train.{name}", getattr(self, name), 0)
        above_zero("train.learning_rate", self.learning_rate)
        for name in ("weight_decay", "clip"):
            at_least(f"train.{name}", getattr(self, name), 0)
        for name in ("warmup", "ema"):
            share("train." + name, getattr(self, name))
        check_dims(self.matryoshka_dims)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """One data set: where it lies, which scenario it teaches and with which losses.

    `path` is a JSONL file or a folder of shards, relative to the working directory; `dev` the same for the split that
    is evaluated. `loss` is a weighted sum by name; it and the temperatures, `ties`, `pin_positive` and
    `in_batch_negatives` are explained at `LossSettings`, `min_reward`, `reward_margin` and `max_examples` at
    `Requirements`, `positive` and `negatives` at `draw_group`. `weight` repeats the set in the mixture: 2 is twice per
    round, 1 once; at 0 nothing is trained on, `path` is not needed, and only `dev` is measured.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    name: str
    scenario: str
    loss: Mapping[str, float]
    path: str = ""
    positive: PositiveRule = "first"
    negatives: NegativeRule = "random"
    student_temperature: float = 0.01
    reward_temperature: float = 1.0
    ties: Literal["exclude", "order"] = "exclude"
    pin_positive: bool = False
    in_batch_negatives: bool = True
    min_reward: float | None = None
    reward_margin: float | None = None
    max_examples: int | None = None
    weight: float = 1.0
    dev: str | None = None

    def __post_init__(self) -> None:
        is_name("data.name", self.name)
        key = f"data.{self.name}"
        at_least(f"{key}.weight", self.weight, 0)
        if self.is_trained:
            not_empty(f"{key}.path", self.path)
        elif self.dev is None:
            raise ConfigError(f"{key}.weight is 0 and it has no dev split; expected a weight, or data.{self.name}.dev.")
        if self.dev is not None:
            not_empty(f"{key}.dev", self.dev)
        for name in ("min_reward", "reward_margin"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"{key}.{name} is {value}; expected a finite number.")
        if self.max_examples is not None:
            at_least(f"{key}.max_examples", self.max_examples, 1)
        try:
            self.loss_settings  # noqa: B018  (it checks its own values)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from error

    @property
    def is_trained(self) -> bool:
        """Whether steps are made with it; otherwise it is only measured."""
        return self.weight > 0

    @property
    def loss_settings(self) -> LossSettings:
        """How this data set is fitted."""
        return LossSettings(
            weights=self.loss,
            student_temperature=self.student_temperature,
            reward_temperature=self.reward_temperature,
            ties=self.ties,
            pin_positive=self.pin_positive,
            in_batch_negatives=self.in_batch_negatives,
        )

    def requirements(self, group_size: int) -> Requirements:
        """What an example must have to be trained on, in groups of `group_size` documents."""
        return Requirements(
            positive=self.positive,
            negatives=self.negatives,
            size=group_size,
            min_reward=self.min_reward,
            reward_margin=self.reward_margin,
            max_examples=self.max_examples,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything a run depends on besides the data's bytes and the machine.

    `scenario` holds pairs of instructions that the recipe adds to those of `model.instructions`, or puts in their
    place. `source` is the file the recipe came from, for messages.

    Raises:
        ConfigError: if two data sets share a name, a scenario is unknown, or evaluation has nothing to evaluate.
    """

    model: ModelSettings
    train: TrainSettings
    data: Sequence[DataSettings]
    scenario: Sequence[Scenario] = ()
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("data is empty; expected one [[data]] table per data set.")
        if not any(settings.is_trained for settings in self.data):
            raise ConfigError("data has nothing to train on; expected a [[data]] table with a weight above 0.")
        no_duplicates("data", [settings.name for settings in self.data])
        check_kind(self.model, self.train, self.data, has_scenarios=bool(self.scenario))
        no_duplicates("scenario", [scenario.name for scenario in self.scenario])
        for settings in self.data:
            if settings.scenario not in self.scenario_names:
                raise unknown_name(
                    f"scenario in data.{settings.name}.scenario:", settings.scenario, self.scenario_names
                )
        if self.train.eval_every and not any(settings.dev for settings in self.data):
            raise ConfigError(
                f"train.eval_every is {self.train.eval_every}, but no data set has a dev split; "
                "set data.NAME.dev to a JSONL file, or train.eval_every to 0."
            )
        if self.train.patience and not self.train.eval_every:
            raise ConfigError(
                f"train.patience is {self.train.patience}, but train.eval_every is 0, so it would never act; "
                "set both, or train.patience to 0."
            )

    @property
    def scenario_names(self) -> list[str]:
        """What data sets may name: the six scenarios, then those of the recipe."""
        return [*dict.fromkeys([*SCENARIO_NAMES, *(scenario.name for scenario in self.scenario)])]
