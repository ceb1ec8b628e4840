"""The fast engine for BERT's family and Llama's: no padding is computed, and half precision where it is fast."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rag_embedder.engine.bert import PackedBert
from rag_embedder.engine.decoder import PACKED_DECODERS, PackedDecoder
from rag_embedder.engine.one_batch import vectors_of_batch
from rag_embedder.engine.precision import check_exact, dtype_named, fastest_dtype, name_of
from rag_embedder.engine.transformers import TransformersEngine, resolve_device
from rag_embedder.model_folder.json_files import read_json
from rag_embedder.pooling import pooling_named
from rag_embedder.types import Vectors


class PackedEngine:
    """The weights of a `TransformersEngine` in a forward pass of our own.

    In float32 it equals the reference to 1e-5. In bfloat16 the cosine to it is above 0.999 for every text, and what
    else is in a batch changes a vector by no more than that. In half precision the float32 weights are let go, so
    such an engine cannot be saved. A decoder's layers are transformers' own.
    """

    def __init__(
        self,
        reference: TransformersEngine,
        *,
        pooling: str,
        device: torch.device,
        dtype: torch.dtype,
        num_slots: int = 1,
    ) -> None:
        network = PackedDecoder if reference.model.config.model_type in PACKED_DECODERS else PackedBert
        self._network = network(reference.model, device=device, dtype=dtype)
        self._pool = pooling_named(pooling, num_slots=num_slots)
        self._normalize = reference.is_normalized
        self._dim = reference.dim
        self._vocabulary_size = reference.vocabulary_size
        self._weights_hash = reference.weights_hash()
        self._reference = reference if dtype == torch.float32 else None

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
        is_decoder = read_json(folder / "config.json").get("model_type") in PACKED_DECODERS
        reference = TransformersEngine.load(
            folder,
            pooling=pooling,
            num_slots=num_slots,
            delta=delta,
            adapter=adapter,
            normalize=normalize,
            device="cpu",
            # A decoder is read in its format at once; BERT's weights are packed into it from float32.
            dtype=name_of(chosen) if is_decoder else "float32",
            allow_pickle=allow_pickle,
        )
        return cls(reference, pooling=pooling, device=target, dtype=chosen, num_slots=num_slots)

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
        return 1024 if self._network.dtype == torch.float32 else 8192

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
        """Raise ConfigError unless the weights are held exactly, in float32."""
        check_exact(self._network.dtype)

    def write_weights(self, path: Path) -> None:
        """Write all tensors to one safetensors file, as the reference does.

        Raises:
            ConfigError: if the weights are held in half precision.
        """
        self.check_can_save()
        assert self._reference is not None
        self._reference.write_weights(path)

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
            pooled.append(self._pool(texts, texts.new_ones(texts.shape[:2])))
        rows = torch.cat(pooled)
        if self._normalize:
            rows = torch.nn.functional.normalize(rows, dim=-1)
        vectors = np.empty((len(token_ids), self._dim), dtype=np.float32)
        vectors[order] = rows.cpu().numpy()
        return vectors
