"""The reference engine: a Hugging Face encoder or decoder on padded batches, in any precision torch offers."""

import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from rag_embedder.engine.adapter import Adapter, read_adapter
from rag_embedder.engine.exact_weights import ExactWeights, merge_adapter
from rag_embedder.engine.one_batch import vectors_of_batch
from rag_embedder.engine.precision import check_exact, dtype_named, name_of
from rag_embedder.errors import ConfigError, ModelLoadError, UntrustedModelError
from rag_embedder.model_folder import merge_delta
from rag_embedder.pooling import pooling_named
from rag_embedder.types import Vectors

_LOADING = threading.Lock()
"""transformers changes global state (torch's initialisers, its own logging) while it builds a model."""

# OpenMP's threads do not survive fork(), and a forward pass in the child would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


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
        self._weights_hash = weights_hash or _hash_weights(sorted(model.state_dict().items()))
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

        A decoder is read in `dtype` at once, since it may not fit into memory in float32. Pooling "last" takes the
        mean of `num_slots` states.

        Raises:
            ModelLoadError: for missing, wrong-shaped or unreadable weights. Nothing is ever filled in at random.
            UntrustedModelError: if it would need code from the model.
            ConfigError: for a device or dtype that is not there.
        """
        target = resolve_device(device)
        chosen = dtype_named(dtype)
        with _LOADING:
            model, exact = _load_model(folder, dtype=chosen, adapter=adapter, allow_pickle=allow_pickle)
        if delta is not None:
            merge_delta(delta, float32_weights(model))
        return cls(
            model,
            pooling=pooling,
            num_slots=num_slots,
            normalize=normalize,
            device=target,
            dtype=chosen,
            weights_hash=None if exact is None else _hash_weights(exact),
        )

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
        return len(_embedding_table(self.model))

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


def resolve_device(device: str) -> torch.device:
    """The torch device; "auto" is CUDA when there is one, else the CPU.

    Raises:
        ConfigError: if the device does not exist here; the message lists those that do.
    """
    count = torch.cuda.device_count()
    here = ["cpu", *(f"cuda:{index}" for index in range(count))]
    if device == "auto":
        return torch.device("cuda:0" if count else "cpu")
    wanted = "cuda:0" if device == "cuda" else device
    if wanted == "mps" and torch.backends.mps.is_available():
        return torch.device("mps")
    if wanted not in here:
        raise ConfigError(f"device {device!r} is not here; expected 'auto' or one of: {', '.join(here)}.")
    return torch.device(wanted)


def float32_weights(model: PreTrainedModel) -> dict[str, Vectors]:
    """Its float32 tensors by name, as NumPy arrays over the same memory; the model is on the CPU."""
    return {name: weight.numpy() for name, weight in model.state_dict().items() if weight.dtype == torch.float32}


def _embedding_table(model: PreTrainedModel) -> Tensor:
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    return table


def padding_id(model: PreTrainedModel) -> int:
    """A token id to pad with; some decoders state none, or -1."""
    stated = getattr(model.config, "pad_token_id", None)
    return stated if isinstance(stated, int) and stated > 0 else 0


def is_causal(config: PretrainedConfig) -> bool:
    """Whether models of this kind read from left to right only, such as Llama, Mistral and Qwen."""
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def _hash_weights(weights: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in weights:
        if not name.startswith("pooler."):  # never used, and absent or random in some checkpoints
            digest.update(f"{name} {list(tensor.shape)}".encode())
            digest.update(tensor.float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _load_model(
    folder: Path, *, dtype: torch.dtype, adapter: Path | None, allow_pickle: bool
) -> tuple[PreTrainedModel, ExactWeights | None]:
    """The model with its adapter merged, and the float32 weights where the model is held in another format."""
    model = _load_base(folder, dtype=dtype, allow_pickle=allow_pickle)
    weights = model.state_dict()
    found = None if adapter is None else read_adapter(adapter, allow_pickle=allow_pickle).fitted(weights, adapter)
    if found is not None:
        weights = _with_own_vocabulary(model, found)
    exact = None if model.dtype == torch.float32 else ExactWeights(folder, weights, found)
    if found is not None:
        merge_adapter(found, weights, exact)
    return model, exact


def _with_own_vocabulary(model: PreTrainedModel, adapter: Adapter) -> dict[str, Tensor]:
    """The weights' names, after the embedding table has taken the size that the adapter's has."""
    table = _embedding_table(model)
    for name, weight in model.state_dict().items():
        new = adapter.replaced.get(name)
        if weight.data_ptr() == table.data_ptr() and new is not None and len(new) != len(table):
            model.resize_token_embeddings(len(new), mean_resizing=False)
    return model.state_dict()


def _load_base(folder: Path, *, dtype: torch.dtype, allow_pickle: bool) -> PreTrainedModel:
    quiet = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        config.transformers_weights = None  # a config could name a pickled file there
        config.use_cache = False
        is_safe = any(folder.glob("*.safetensors"))
        model, report = AutoModel.from_pretrained(
            str(folder),
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not allow_pickle or is_safe,
            dtype=dtype if is_safe and is_causal(config) else torch.float32,
            ignore_mismatched_sizes=True,  # refused below, with their names
            # Chosen here, so that a kernel named inside the model's own config is never fetched or run.
            attn_implementation=_attention_of(config),
            output_loading_info=True,
        )
    except Exception as error:
        raise _explain(folder, error) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if quiet:
            transformers_logging.enable_progress_bar()
    # The pooler (BERT's tanh layer) is never used, so a checkpoint may come without it.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    wrong = sorted(_describe_shapes(*entry) for entry in report["mismatched_keys"])
    if missing or wrong:
        raise ModelLoadError(
            f"weights in {folder} do not fit its config.json: {len(missing)} tensors missing, {len(wrong)} of the "
            f"wrong shape (first: {', '.join((missing + wrong)[:10])}). Expected a complete encoder checkpoint."
        )
    return model


def _describe_shapes(name: str, found: torch.Size, expected: torch.Size) -> str:
    return f"{name} {tuple(found)} instead of {tuple(expected)}"


def _attention_of(config: PretrainedConfig) -> str:
    # A few architectures (MPNet, DeBERTa) have only the slow one; asking them for SDPA is an error.
    model_class = MODEL_MAPPING.get(type(config), None)
    return "sdpa" if getattr(model_class, "_supports_sdpa", False) else "eager"


def _explain(folder: Path, error: Exception) -> ModelLoadError:
    text = str(error)
    if "trust_remote_code" in text:
        return UntrustedModelError(
            f"{folder} needs code shipped with the model, which is never run here. Expected an architecture that "
            "transformers itself knows."
        )
    if "weights_only" in text:
        return UntrustedModelError(
            f"the pickled weights in {folder} hold more than tensors and were not read; expected model.safetensors."
        )
    return ModelLoadError(f"cannot load the model in {folder}: {type(error).__name__}: {text[:300]}")
