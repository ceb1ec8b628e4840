"""What a recipe of `trainer.pretrain` can say, as frozen records that check their own values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rag_embedder.errors import ConfigError
from rag_embedder.prompt_form import PROMPT_FORMS
from rag_embedder.registry import unknown_name
from trainer.language_model.settings import LanguageModelTrainSettings
from trainer.pretraining.objective import ObjectiveSettings
from trainer.value_checks import above_zero, at_least, is_name, no_duplicates, not_empty


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainModelSettings:
    """The decoder. `base` is a folder or hub id, `form` the prompts that it learns to answer with a vector.

    `max_length` is tokens of a text and all prompts. With `lora_rank` above 0 only adapters (`lora_alpha` is 2 x rank
    where it is not given) and the embeddings of the slots are trained. `dtype` is what a pass computes in: weights that
    are trained are float32, those that are not are kept in `dtype`. `gradient_checkpointing` computes layers twice and
    keeps one state per token and layer.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    base: str
    form: str = "llara"
    max_length: int = 512
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora_rank: int = 0
    lora_alpha: float | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        not_empty("model.base", self.base)
        if self.form not in PROMPT_FORMS:
            raise unknown_name("value of model.form:", self.form, list(PROMPT_FORMS))
        at_least("model.max_length", self.max_length, 8)
        at_least("model.lora_rank", self.lora_rank, 0)
        if self.lora_alpha is not None:
            above_zero("model.lora_alpha", self.lora_alpha)
            if not self.lora_rank:
                raise ConfigError("model.lora_alpha is for model.lora_rank above 0; expected none.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainTrainSettings(LanguageModelTrainSettings):
    """As those of a language model, with the papers' rate, warm-up and schedule, and no decay."""

    learning_rate: float = 1e-5
    schedule: Literal["cosine", "linear"] = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageDataSettings:
    """One data set: JSONL with `text`, cut into passages (kind "text"), or passages and what they should predict.

    Of kind "pairs", a line has `input`, and `output_summarize` (else the input itself), `output_predict` or both.
    `passage_tokens` is the length of a passage, as much as fits beside the prompts where it is not given; `min_tokens`
    is what a text's last passage must have to be one. `weight` is the share of rows, relative to the other sets.
    `held_out` documents, drawn with the seed, are evaluated and never trained on.

    Raises:
        ConfigError: if a value is out of range; the message begins with the key.
    """

    name: str
    path: str
    kind: Literal["text", "pairs"] = "text"
    passage_tokens: int | None = None
    min_tokens: int = 16
    weight: float = 1.0
    held_out: int = 0

    def __post_init__(self) -> None:
        is_name("data.name", self.name)
        key = f"data.{self.name}"
        not_empty(f"{key}.path", self.path)
        if self.passage_tokens is not None:
            at_least(f"{key}.passage_tokens", self.passage_tokens, 1)
        at_least(f"{key}.min_tokens", self.min_tokens, 1)
        above_zero(f"{key}.weight", self.weight)
        at_least(f"{key}.held_out", self.held_out, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainRecipe:
    """Everything a run depends on besides the data's bytes and the machine; `source` is its file, for messages.

    Raises:
        ConfigError: if there is no data set, or two share a name.
    """

    model: PretrainModelSettings
    train: PretrainTrainSettings
    data: Sequence[PassageDataSettings]
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        names = [settings.name for settings in self.data]
        if not names:
            raise ConfigError("data is empty; expected one [[data]] table per data set.")
        no_duplicates("data", names)
