"""The language model behind a reward: how it is opened, described, and asked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from evals.end_task.measuring import open_language_model
from evals.language_model import LANGUAGE_MODELS
from evals.language_model.protocol import Continuation, LanguageModel
from rag_embedder.errors import ConfigError
from trainer.rewards.protocol import RewardOptions
from trainer.templates import Template


def open_reward_model(options: RewardOptions) -> LanguageModel:
    """The model that `options.lm` names: a folder, a hub id, or a server's address.

    Raises:
        ConfigError: if none is named.
        ModelLoadError: if it cannot be loaded.
    """
    if options.lm is None:
        raise ConfigError("lm: got none; expected a folder, a hub id or a server's address: this reward asks a model.")
    if options.lm.startswith(("http://", "https://")) or options.tokenizer is not None:
        return open_language_model(options.lm, tokenizer=options.tokenizer)
    return LANGUAGE_MODELS["local"].load(
        options.lm, device=options.device, dtype=options.dtype, batch_tokens=options.batch_tokens
    )


def room_for(lm: LanguageModel, options: RewardOptions) -> int:
    """Tokens that may be read at once."""
    return lm.max_length if options.max_length is None else min(lm.max_length, options.max_length)


def output_scores(lm: LanguageModel, requests: Sequence[Continuation], options: RewardOptions) -> list[float]:
    """Log-likelihood of each continuation in nats, per token or as a whole."""
    scores = lm.log_likelihoods(requests, max_length=options.max_length)
    if options.normalisation == "sum":
        return [score.log_likelihood for score in scores]
    return [-score.mean_nll for score in scores]


def describe(lm: LanguageModel, template: Template, options: RewardOptions) -> Mapping[str, object]:
    """What decides the value of a likelihood."""
    return {
        "language_model": lm.name,
        "language_model_fingerprint": lm.fingerprint,
        "template": {**asdict(template), "stop": list(template.stop)},
        "normalisation": options.normalisation,
        "answers": options.answers,
        "candidate_tokens": options.candidate_tokens,
        "max_length": options.max_length,
        "seed": options.seed,
    }
