"""The reference engine: a Hugging Face encoder or decoder on padded batches, in any precision torch offers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from rag_embedder.engine.device import resolve_device
from rag_embedder.engine.loading import embedding_table, load_model
from rag_embedder.engine.one_batch import vectors_of_batch
from rag_embedder.engine.precision import check_exact, dtype_named, name_of
from rag_embedder.engine.weights_hash import hash_weights
from rag_embedder.model_folder import merge_delta
from rag_embedder.pooling import pooling_named
from rag_embedder.types import Vectors


class TransformersEngine:
    """`AutoModel` → pooling → L2 normalisation, unless that is switched off."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        pooling: str,
        device: torch.device,
        dtype: torch.dtype,
        normalize: bool = True,
        num_slots: int = 1,
        weights_hash: str | None = None,
    ) -> None:
        self._weights_hash = weights_hash or hash_weights(sorted(model.state_dict().items()))
        model.eval()
        torch.nn.Module.to(model, device=device, dtype=dtype)
        self.model = model
        self._pool = pooling_named(pooling, num_slots=num_slots)
        self._normalize = normalize
        self._device = device
        self._pad_id = padding_id(model)

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
    ) -> "TransformersEngine":
        """Read config and weights of a folder, and add the differences in the folder `delta`, or PEFT's in `adapter`.

        A decoder is read in `dtype` at once, since it may not fit into memory in float32; "auto" is float32. Pooling
        "last" takes the mean of `num_slots` states.

        Raises:
            ModelLoadError: for missing, wrong-shaped or unreadable weights. Nothing is ever filled in at random.
            UntrustedModelError: if it would need code from the model.
            ConfigError: for a device or dtype that is not there.
        """
        target = resolve_device(device)
        chosen = torch.float32 if dtype == "auto" else dtype_named(dtype, more=("auto",))
        model, exact = load_model(folder, dtype=chosen, adapter=adapter, allow_pickle=allow_pickle)
        if delta is not None:
            merge_delta(delta, float32_weights(model))
        return cls(
            model,
            pooling=pooling,
            num_slots=num_slots,
            normalize=normalize,
            device=target,
            dtype=chosen,
            weights_hash=None if exact is None else hash_weights(exact),
        )

    @property
    def name(self) -> str:
        """What `Embedder.load(engine=...)` calls it."""
        return "transformers"

    @property
    def dim(self) -> int:
        """Hidden size of the model."""
        return int(self.model.config.hidden_size)

    @property
    def is_normalized(self) -> bool:
        """Whether rows are unit vectors."""
        return self._normalize

    @property
    def device(self) -> str:
        """Where the model runs, as torch writes it."""
        return str(self._device)

    @property
    def dtype(self) -> str:
        """The number format it computes in: "float32", "bfloat16" or "float16"."""
        return name_of(self.model.dtype)

    @property
    def batch_tokens(self) -> int:
        """A GPU wants large batches; on a CPU small ones stay in the caches (benchmarks/encode_throughput.py)."""
        return 1024 if self._device.type == "cpu" else 32_768

    @property
    def pads(self) -> bool:
        """A batch costs as many tokens as if all its texts were as long as the longest."""
        return True

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding table."""
        return len(embedding_table(self.model))

    def weights_hash(self) -> str:
        """Sha256 over the float32 weights by tensor name: the same for every file layout of one model."""
        return self._weights_hash

    def check_can_save(self) -> None:
        """Raise ConfigError unless the weights are held exactly, in float32."""
        check_exact(self.model.dtype)

    def write_weights(self, path: Path) -> None:
        """Write all tensors to one safetensors file."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(tensors, path, metadata={"format": "pt"})

    def encode(self, token_ids: Sequence[list[int]]) -> Vectors:
        """Rows of shape (n, dim); a batch that does not fit in GPU memory is halved until it does.

        Raises:
            VectorError: if the model answers NaN or infinity.
        """
        return vectors_of_batch(self._forward, token_ids, dtype=self.model.dtype)

    @torch.inference_mode()
    def _forward(self, token_ids: Sequence[list[int]]) -> Vectors:
        input_ids, mask = self._pad(token_ids)
        # Padding stands on the right, which no token of a decoder looks at.
        states = self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state
        vectors = self._pool(states, mask).float()
        if self._normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return vectors.cpu().numpy()

    def _pad(self, token_ids: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, token_ids))
        input_ids = np.full((len(token_ids), width), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(token_ids), width), dtype=np.int64)
        for row, ids in enumerate(token_ids):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        return torch.from_numpy(input_ids).to(self._device), torch.from_numpy(mask).to(self._device)


def float32_weights(model: PreTrainedModel) -> dict[str, Vectors]:
    """Its float32 tensors by name, as NumPy arrays over the same memory; the model is on the CPU."""
    return {name: weight.numpy() for name, weight in model.state_dict().items() if weight.dtype == torch.float32}


def padding_id(model: PreTrainedModel) -> int:
    """A token id to pad with; some decoders state none, or -1."""
    stated = getattr(model.config, "pad_token_id", None)
    return stated if isinstance(stated, int) and stated > 0 else 0
