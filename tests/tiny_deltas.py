"""A tiny model in the place of the public base, and delta folders over it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from rag_embedder import Scenario, model_source
from rag_embedder.model_folder import ModelSettings, read_settings, write_delta
from rag_embedder.model_source import BASE_HUB_ID
from tests.tiny_models import make_sentence_transformer, write_plain

DENSE = "encoder.layer.0.output.dense.weight"
BIAS = "encoder.layer.0.output.dense.bias"


def make_base(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model that is taken for the public base until the test ends; returns its folder."""
    make_sentence_transformer(write_plain(folder), max_length=64)
    monkeypatch.setattr(model_source, "base_folder", lambda: folder)
    monkeypatch.setattr(model_source, "BASE_SHA256", sha256_of(folder / "model.safetensors"))
    return folder


def trained_weights(base: Path) -> dict[str, np.ndarray]:
    """The base's weights with one layer changed."""
    rng = np.random.default_rng(3)
    weights = {name: array.copy() for name, array in load_file(base / "model.safetensors").items()}
    for name in (DENSE, BIAS):
        weights[name] += rng.normal(0, 0.05, weights[name].shape).astype(np.float32)
    return weights


def settings_of(base: Path) -> ModelSettings:
    return replace(
        read_settings(base),
        name="tiny-trained",
        max_length=48,
        training_state="fitted for a test",
        scenarios={"qa": Scenario("qa"), "law": Scenario("law", "find the law: ", "law: ")},
    )


def make_delta(folder: Path, base: Path, *, bits: int = 8) -> Path:
    write_delta(
        folder,
        settings_of(base),
        base=BASE_HUB_ID,
        base_sha256=sha256_of(base / "model.safetensors"),
        base_weights=load_file(base / "model.safetensors"),
        trained_weights=trained_weights(base),
        bits=bits,
    )
    return folder


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
