"""Causal language models: one protocol, one file per way to reach them."""

from evals.language_model.protocol import Continuation, LanguageModel, LanguageModelError, Sampling, Score
from rag_embedder.registry import Registry

LANGUAGE_MODELS = Registry(
    "language model",
    {
        "local": "evals.language_model.local:LocalLanguageModel",
        "server": "evals.language_model.server:ServerLanguageModel",
    },
)

__all__ = ["LANGUAGE_MODELS", "Continuation", "LanguageModel", "LanguageModelError", "Sampling", "Score"]
