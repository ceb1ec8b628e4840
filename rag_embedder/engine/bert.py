"""The forward pass of BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) over packed tokens: no padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, layer_norm
from transformers import PreTrainedModel

from rag_embedder.engine.packing import Packing, attend
from rag_embedder.engine.products import Product, exact_gelu, product
from rag_embedder.errors import ConfigError

_MODEL_TYPES = ("bert", "roberta", "xlm-roberta")


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
    """Weights of a loaded model in one number format on one device, and nothing of its code.

    Raises:
        ConfigError: for an architecture that is not written here.
    """

    def __init__(self, model: PreTrainedModel, *, device: torch.device, dtype: torch.dtype) -> None:
        check_architecture(model)
        config = model.config
        self.device = device
        self.dtype = dtype
        self._heads = int(config.num_attention_heads)
        # RoBERTa's positions begin behind its padding id, and padding ids inside of a text have none of their own.
        self._pad_id = None if config.model_type == "bert" else int(config.pad_token_id)
        parts: Any = model
        self._words = parts.embeddings.word_embeddings.weight.detach().to(device=device, dtype=dtype)
        # Every token has type 0. The sum of three embeddings is taken in float32.
        places = parts.embeddings.position_embeddings.weight + parts.embeddings.token_type_embeddings.weight[0]
        self._places = places.detach().to(device=device, dtype=torch.float32)
        self._norm = _norm(parts.embeddings.LayerNorm, device, torch.float32)
        self._layers = [_layer(layer, device, dtype) for layer in parts.encoder.layer]

    def states(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Packing]:
        """Last states (tokens, dim) of the texts behind one another, and where each is; equal lengths best together."""
        lengths = np.fromiter(map(len, token_ids), dtype=np.int64, count=len(token_ids))
        flat = np.fromiter((token for ids in token_ids for token in ids), dtype=np.int64, count=int(lengths.sum()))
        packing = Packing.of(lengths.tolist(), self.device)
        words = embedding(torch.from_numpy(flat).to(self.device), self._words).float()
        positions = torch.from_numpy(_positions(flat, lengths, self._pad_id)).to(self.device)
        row = self._norm(words + embedding(positions, self._places)).to(self.dtype)
        for layer in self._layers:
            row = self._through(layer, row, packing)
        return row, packing

    def _through(self, layer: _Layer, row: Tensor, packing: Packing) -> Tensor:
        by_head = layer.query_key_value(row).unflatten(1, (3, self._heads, -1))
        row = layer.attended_norm(row + layer.attended(attend(by_head, packing)))
        return layer.norm(row + layer.narrow(layer.widen(row)))


def check_architecture(model: PreTrainedModel) -> None:
    """Raise ConfigError unless the model is an encoder whose forward pass is written here."""
    config = model.config
    kind = config.model_type
    if getattr(config, "is_decoder", False):
        kind += " decoder"
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        kind += f" with {config.position_embedding_type} positions"
    if kind not in _MODEL_TYPES:
        raise ConfigError(
            f"engine 'packed' computes {', '.join(_MODEL_TYPES)} encoders and Llama's kin; got {kind}. "
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


def _layer(layer: Any, device: torch.device, dtype: torch.dtype) -> _Layer:  # noqa: ANN401  (a module of transformers)
    attention, output = layer.attention.self, layer.attention.output
    activation = layer.intermediate.intermediate_act_fn
    return _Layer(
        query_key_value=product([attention.query, attention.key, attention.value], device=device, dtype=dtype),
        attended=product([output.dense], device=device, dtype=dtype),
        attended_norm=_norm(output.LayerNorm, device, dtype),
        widen=product([layer.intermediate.dense], device=device, dtype=dtype, activation=_known(activation)),
        narrow=product([layer.output.dense], device=device, dtype=dtype),
        norm=_norm(layer.output.LayerNorm, device, dtype),
    )


def _known(activation: Callable[[Tensor], Tensor]) -> Product:
    """The same activation; the usual one in the form that can be computed inside of a product."""
    from transformers.activations import GELUActivation

    return exact_gelu if isinstance(activation, GELUActivation) else activation


def _norm(module: nn.LayerNorm, device: torch.device, dtype: torch.dtype) -> Product:
    # torch takes mean and variance of half-precision rows in float32.
    weight, bias = (each.detach().to(device=device, dtype=dtype) for each in (module.weight, module.bias))
    shape, epsilon = module.normalized_shape, module.eps
    return lambda row: layer_norm(row, shape, weight, bias, epsilon)
