"""The fast engine for BERT's family and Llama's: no padding is computed, and half precision where it is fast."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rag_embedder.engine.bert import PackedBert
from rag_embedder.engine.bert_weights import BertWeights, arrays_of, read_bert_weights, weights_of
from rag_embedder.engine.device import resolve_device
from rag_embedder.engine.one_batch import vectors_of_batch
from rag_embedder.engine.packing import Packing
from rag_embedder.engine.precision import check_exact, dtype_named, fastest_dtype, name_of
from rag_embedder.engine.weights_hash import hash_weights
from rag_embedder.errors import ModelLoadError
from rag_embedder.model_folder import merge_delta
from rag_embedder.model_folder.json_files import read_json
from rag_embedder.pooling import pooling_named
from rag_embedder.types import Vectors

PACKED_DECODERS = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose layers depend on other tokens through attention and rotary positions alone."""

_CHECKED_LENGTHS = (3, 17, 40)
"""Tokens of the texts on which half precision has to agree with float32."""

_AGREES = 0.999
"""Lowest cosine to float32."""


class PackedNetwork(Protocol):
    """A forward pass over texts behind one another."""

    device: torch.device
    dtype: torch.dtype

    def states(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Packing]:
        """Last states (tokens, dim), and where each text is."""
        ...


class PackedEngine:
    """A forward pass of our own over the weights of a model.

    In float32 it equals the reference to 1e-5. In bfloat16 the cosine to it is above 0.999 for every text, and what
    else is in a batch changes a vector by no more than that. An encoder is saved in float32 whatever it computes in:
    its files are read again. A decoder's layers are transformers' own.
    """

    def __init__(
        self,
        network: PackedNetwork,
        *,
        pooling: str,
        num_slots: int,
        normalize: bool,
        dim: int,
        vocabulary_size: int,
        weights_hash: str,
        write_weights: Callable[[Path], None] | None,
    ) -> None:
        self._network = network
        self._pool = pooling_named(pooling, num_slots=num_slots)
        self._normalize = normalize
        self._dim = dim
        self._vocabulary_size = vocabulary_size
        self._weights_hash = weights_hash
        self._write_weights = write_weights

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        pooling: str,
        num_slots: int = 1,
        delta: Path | None = None,
        adapter: Path | None = None,
        normalize: bool = True,
        device: str = "auto",
        dtype: str = "float32",
        allow_pickle: bool = False,
    ) -> "PackedEngine":
        """As `TransformersEngine.load`; dtype "auto" is bfloat16 where the device computes it fast, else float32.

        Raises:
            ConfigError: also for an architecture other than BERT, RoBERTa, XLM-RoBERTa, Llama, Mistral and Qwen.
        """
        target = resolve_device(device)
        chosen = fastest_dtype(target) if dtype == "auto" else dtype_named(dtype, more=("auto",))
        reading = {"pooling": pooling, "num_slots": num_slots, "normalize": normalize}
        files = {"delta": delta, "adapter": adapter, "allow_pickle": allow_pickle}
        if read_json(folder / "config.json").get("model_type") in PACKED_DECODERS:
            return cls._load_decoder(folder, target, chosen, reading, files)
        weights = _encoder_weights(folder, **files)
        network = PackedBert(weights, device=target, dtype=chosen)
        if dtype == "auto" and chosen != torch.float32:
            exact = PackedBert(weights, device=target, dtype=torch.float32)
            network = network if _agrees(network, exact, weights.config) else exact
        weights_hash = hash_weights(sorted(weights.tensors.items()))

        def write_weights(path: Path) -> None:
            _write_again(path, weights_hash, folder, **files)

        return cls(
            network,
            dim=int(weights.config["hidden_size"]),
            vocabulary_size=len(weights.tensors["embeddings.word_embeddings.weight"]),
            weights_hash=weights_hash,
            write_weights=write_weights,
            **reading,
        )

    @classmethod
    def _load_decoder(
        cls,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        reading: Mapping[str, Any],
        files: Mapping[str, Any],
    ) -> "PackedEngine":
        # These import transformers, which takes seconds: only where its layers are used.
        from rag_embedder.engine.decoder import PackedDecoder
        from rag_embedder.engine.transformers import TransformersEngine

        # A decoder is read in its format at once: it may not fit into memory in float32.
        reference = TransformersEngine.load(folder, device="cpu", dtype=name_of(dtype), **reading, **files)
        return cls(
            PackedDecoder(reference.model, device=device, dtype=dtype),
            dim=reference.dim,
            vocabulary_size=reference.vocabulary_size,
            weights_hash=reference.weights_hash(),
            write_weights=reference.write_weights if dtype == torch.float32 else None,
            **reading,
        )

    @property
    def name(self) -> str:
        """What `Embedder.load(engine=...)` calls it."""
        return "packed"

    @property
    def dim(self) -> int:
        """Hidden size of the model."""
        return self._dim

    @property
    def is_normalized(self) -> bool:
        """Whether rows are unit vectors."""
        return self._normalize

    @property
    def device(self) -> str:
        """Where the model runs, as torch writes it."""
        return str(self._network.device)

    @property
    def dtype(self) -> str:
        """The number format it computes in: "float32", "bfloat16" or "float16"."""
        return name_of(self._network.dtype)

    @property
    def batch_tokens(self) -> int:
        """Tokens of one pass: float32 on a CPU wants to stay in its caches, half precision gains from longer rows."""
        if self._network.device.type != "cpu":
            return 65_536
        return 1024 if self._network.dtype == torch.float32 else 4096

    @property
    def pads(self) -> bool:
        """A batch costs the sum of its lengths."""
        return False

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding table."""
        return self._vocabulary_size

    def weights_hash(self) -> str:
        """That of the reference: over the float32 weights."""
        return self._weights_hash

    def check_can_save(self) -> None:
        """Raise ConfigError if only rounded weights are at hand: those of a decoder in half precision."""
        if self._write_weights is None:
            check_exact(self._network.dtype)

    def write_weights(self, path: Path) -> None:
        """Write all tensors to one safetensors file in float32, as the reference does.

        Raises:
            ConfigError: for a decoder in half precision.
            ModelLoadError: if the files it was loaded from are gone or others now.
        """
        self.check_can_save()
        assert self._write_weights is not None
        self._write_weights(path)

    def encode(self, token_ids: Sequence[list[int]]) -> Vectors:
        """Rows of shape (n, dim), in the order of the texts.

        Raises:
            VectorError: if the model answers NaN or infinity.
        """
        return vectors_of_batch(self._forward, token_ids, dtype=self._network.dtype)

    @torch.inference_mode()
    def _forward(self, token_ids: Sequence[list[int]]) -> Vectors:
        # By length, so that texts of equal length are neighbours and one batch for attention.
        order = sorted(range(len(token_ids)), key=lambda position: -len(token_ids[position]))
        states, packing = self._network.states([token_ids[position] for position in order])
        pooled = []
        for span in packing.spans:
            texts = span.texts(states).float()
            pooled.append(self._pool(texts, span.is_own(texts.device).float()))
        rows = torch.cat(pooled)
        if self._normalize:
            rows = torch.nn.functional.normalize(rows, dim=-1)
        vectors = np.empty((len(token_ids), self._dim), dtype=np.float32)
        vectors[order] = rows.cpu().numpy()
        return vectors


def _encoder_weights(folder: Path, *, delta: Path | None, adapter: Path | None, allow_pickle: bool) -> BertWeights:
    weights = None if adapter else read_bert_weights(folder)
    if weights is None:
        from rag_embedder.engine.loading import load_model

        model, _ = load_model(folder, dtype=torch.float32, adapter=adapter, allow_pickle=allow_pickle)
        weights = weights_of(model)
    if delta is not None:
        merge_delta(delta, arrays_of(weights))
    return weights


def _write_again(path: Path, weights_hash: str, folder: Path, **files: Any) -> None:  # noqa: ANN401
    from rag_embedder.engine.transformers import TransformersEngine

    again = TransformersEngine.load(folder, pooling="mean", device="cpu", **files)
    if again.weights_hash() != weights_hash:
        raise ModelLoadError(f"save: the weights in {folder} are others than those that were loaded; load them again.")
    again.write_weights(path)


def _agrees(network: PackedNetwork, exact: PackedNetwork, config: Mapping[str, Any]) -> bool:
    """Whether a number format gives the directions of float32 here: not every build and device does."""
    generator = np.random.default_rng(0)
    lengths = [min(length, int(config["max_position_embeddings"]) - 2) for length in _CHECKED_LENGTHS]
    texts = [generator.integers(0, int(config["vocab_size"]), length).tolist() for length in lengths]
    try:
        near, right = _pooled(network, texts), _pooled(exact, texts)
    except (RuntimeError, NotImplementedError):
        return False
    return bool((torch.nn.functional.cosine_similarity(near, right) >= _AGREES).all())


@torch.inference_mode()
def _pooled(network: PackedNetwork, texts: Sequence[Sequence[int]]) -> Tensor:
    """The first state of every text."""
    states, packing = network.states(texts)
    return torch.cat([span.texts(states)[:, 0].float() for span in packing.spans])
