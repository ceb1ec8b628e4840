"""Settings that mean nothing to one kind of model are refused, before anything is loaded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag_embedder.errors import ConfigError

if TYPE_CHECKING:
    from trainer.settings import DataSettings, ModelSettings, TrainSettings

_OF_ENCODERS = ("pooling", "prompt_form", "instructions")
_LEAST_TEMPERATURE = 0.1


def check_kind(
    model: "ModelSettings", train: "TrainSettings", data: Sequence["DataSettings"], *, has_scenarios: bool
) -> None:
    """Refuse an encoder's settings for a reranker, and the other way round.

    Raises:
        ConfigError: naming the key, why it means nothing, and what to do.
    """
    if model.kind == "reranker":
        _check_reranker(model, train, data, has_scenarios=has_scenarios)
    else:
        _check_encoder(model, data)


def _check_encoder(model: "ModelSettings", data: Sequence["DataSettings"]) -> None:
    if model.template is not None:
        raise ConfigError(
            f"model.template is {model.template!r}, but model.kind is {model.kind!r}, which reads no pairs; "
            'leave it out, or set model.kind = "reranker".'
        )
    for settings in data:
        if settings.loss.get("cross_entropy", 0) > 0:
            raise ConfigError(
                f"data.{settings.name}.loss has cross_entropy, which compares a query's own candidates only and is for "
                'model.kind = "reranker"; expected contrastive, with in_batch_negatives = false for the same.'
            )


def _check_reranker(
    model: "ModelSettings", train: "TrainSettings", data: Sequence["DataSettings"], *, has_scenarios: bool
) -> None:
    for key in _OF_ENCODERS:
        if getattr(model, key) is not None:
            raise ConfigError(
                f"model.{key} is {getattr(model, key)!r}, but a reranker has no vectors; leave it out. How it reads a "
                "pair is model.template."
            )
    if has_scenarios:
        raise ConfigError("scenario: a reranker reads no instructions; leave the [[scenario]] tables out.")
    if train.matryoshka_dims:
        raise ConfigError("train.matryoshka_dims is set, but a reranker has no vectors to cut; leave it out.")
    for settings in data:
        if settings.loss.get("contrastive", 0) > 0:
            raise ConfigError(
                f"data.{settings.name}.loss has contrastive, which compares with the documents of other queries; a "
                "reranker scores a query's own candidates only. Expected cross_entropy, or a distillation."
            )
        if settings.student_temperature < _LEAST_TEMPERATURE:
            raise ConfigError(
                f"data.{settings.name}.student_temperature is {settings.student_temperature}; a reranker's scores are "
                f"no cosines: expected 1, or what you choose from {_LEAST_TEMPERATURE} on."
            )
