"""The forward pass of BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) over packed tokens: no padding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, layer_norm

from rag_embedder.engine.bert_weights import MODEL_TYPES, BertWeights
from rag_embedder.engine.packing import Packing, attend, filled_length
from rag_embedder.engine.products import Product, exact_gelu, product
from rag_embedder.errors import ConfigError


@dataclass(frozen=True, slots=True)
class _Layer:
    """One encoder layer; every part maps (tokens, width in) to (tokens, width out)."""

    query_key_value: Product
    attended: Product
    attended_norm: Product
    widen: Product
    narrow: Product
    norm: Product


class PackedBert:
    """The weights of a model in one number format on one device.

    Raises:
        ConfigError: for an architecture that is not written here.
    """

    def __init__(self, weights: BertWeights, *, device: torch.device, dtype: torch.dtype) -> None:
        config = weights.config
        check_architecture(config)
        self.device = device
        self.dtype = dtype
        self._heads = int(config["num_attention_heads"])
        # RoBERTa's positions begin behind its padding id, and padding ids inside of a text have none of their own.
        self._pad_id = None if config["model_type"] == "bert" else int(config["pad_token_id"])
        self._fill_id = 0 if self._pad_id is None else self._pad_id
        parts = _Parts(weights, device, dtype)
        self._words = parts.tensor("embeddings.word_embeddings.weight").to(device=device, dtype=dtype)
        # Every token has type 0. The sum of three embeddings is taken in float32.
        types = parts.tensor("embeddings.token_type_embeddings.weight")
        places = parts.tensor("embeddings.position_embeddings.weight") + types[0]
        self._places = places.to(device=device, dtype=torch.float32)
        self._norm = parts.norm("embeddings.LayerNorm", dtype=torch.float32)
        self._layers = [parts.layer(f"encoder.layer.{layer}") for layer in range(config["num_hidden_layers"])]

    def states(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Packing]:
        """Last states (tokens, dim) of the texts behind one another, and where each is; equal lengths best together."""
        own = [len(ids) for ids in token_ids]
        if self.device.type == "cpu":
            packing = Packing.filled_up(own, self.device, self.dtype)
            lengths = np.array([filled_length(length) for length in own])
        else:
            packing, lengths = Packing.of(own, self.device), np.array(own)
        flat = np.full(int(lengths.sum()), self._fill_id, dtype=np.int64)
        for start, ids in zip(lengths.cumsum() - lengths, token_ids, strict=True):
            flat[start : start + len(ids)] = ids
        words = embedding(torch.from_numpy(flat).to(self.device), self._words).float()
        places = np.minimum(_positions(flat, lengths, self._pad_id), len(self._places) - 1)
        positions = torch.from_numpy(places).to(self.device)
        row = self._norm(words + embedding(positions, self._places)).to(self.dtype)
        for layer in self._layers:
            row = self._through(layer, row, packing)
        return row, packing

    def _through(self, layer: _Layer, row: Tensor, packing: Packing) -> Tensor:
        by_head = layer.query_key_value(row).unflatten(1, (3, self._heads, -1))
        row = layer.attended_norm(row + layer.attended(attend(by_head, packing)))
        return layer.norm(row + layer.narrow(layer.widen(row)))


def kind_of(config: Mapping[str, Any]) -> str:
    """The model type of a config, and what makes its forward pass another one: in `MODEL_TYPES` if nothing does."""
    kind = str(config.get("model_type"))
    if config.get("is_decoder", False):
        kind += " decoder"
    if config.get("position_embedding_type") not in (None, "absolute"):
        kind += f" with {config['position_embedding_type']} positions"
    return kind


def check_architecture(config: Mapping[str, Any]) -> None:
    """Raise ConfigError unless a config is that of an encoder whose forward pass is written here."""
    kind = kind_of(config)
    if kind not in MODEL_TYPES:
        raise ConfigError(
            f"engine 'packed' computes {', '.join(MODEL_TYPES)} encoders and Llama's kin; got {kind}. "
            "Load the model with engine='transformers'."
        )


def _positions(flat: np.ndarray, lengths: np.ndarray, pad_id: int | None) -> np.ndarray:
    """Position of every token in its own text, (tokens,) int64."""
    starts = lengths.cumsum() - lengths
    if pad_id is None:
        return np.arange(len(flat)) - np.repeat(starts, lengths)
    is_counted = (flat != pad_id).astype(np.int64)
    counted = is_counted.cumsum()
    before = (counted - is_counted)[starts]
    return (counted - np.repeat(before, lengths)) * is_counted + pad_id


class _Parts:
    """Weights by name as what a layer is made of, in one number format on one device."""

    def __init__(self, weights: BertWeights, device: torch.device, dtype: torch.dtype) -> None:
        self._weights = weights
        self._device = device
        self._dtype = dtype
        self._activation = _activation(weights.config["hidden_act"])

    def tensor(self, name: str) -> Tensor:
        return self._weights.tensors[name].detach()

    def layer(self, name: str) -> _Layer:
        attention = f"{name}.attention"
        return _Layer(
            query_key_value=self._product(*(f"{attention}.self.{part}" for part in ("query", "key", "value"))),
            attended=self._product(f"{attention}.output.dense"),
            attended_norm=self.norm(f"{attention}.output.LayerNorm"),
            widen=self._product(f"{name}.intermediate.dense", activation=self._activation),
            narrow=self._product(f"{name}.output.dense"),
            norm=self.norm(f"{name}.output.LayerNorm"),
        )

    def norm(self, name: str, *, dtype: torch.dtype | None = None) -> Product:
        # torch takes mean and variance of half-precision rows in float32.
        weight, bias = (
            self.tensor(f"{name}.{each}").to(device=self._device, dtype=dtype or self._dtype)
            for each in ("weight", "bias")
        )
        shape, epsilon = tuple(weight.shape), float(self._weights.config["layer_norm_eps"])
        return lambda row: layer_norm(row, shape, weight, bias, epsilon)

    def _product(self, *names: str, activation: Product | None = None) -> Product:
        weights = [self.tensor(f"{name}.weight") for name in names]
        biases = [self.tensor(f"{name}.bias") for name in names]
        return product(weights, biases, device=self._device, dtype=self._dtype, activation=activation)


def _activation(name: str) -> Product:
    """By its name in config.json; the usual one in the form that can be computed inside of a product."""
    if name == "gelu":
        return exact_gelu
    from transformers.activations import ACT2FN

    return ACT2FN[name]
