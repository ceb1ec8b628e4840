"""A Hugging Face model from a folder: whole, in one number format, its adapter merged, and none of its code run."""

from pathlib import Path

import torch
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

from rag_embedder.engine.adapter import Adapter, read_adapter
from rag_embedder.engine.exact_weights import ExactWeights, merge_adapter
from rag_embedder.engine.exclusive import quiet_transformers
from rag_embedder.errors import ModelLoadError, UntrustedModelError


def load_model(
    folder: Path, *, dtype: torch.dtype, adapter: Path | None, allow_pickle: bool
) -> tuple[PreTrainedModel, ExactWeights | None]:
    """The model on the CPU with its adapter merged, and the float32 weights where it is held in another format.

    A decoder whose weights are safetensors is read as `dtype`, everything else as float32.

    Raises:
        ModelLoadError: for missing, wrong-shaped or unreadable weights. Nothing is ever filled in at random.
        UntrustedModelError: if it would need code from the model.
    """
    model = _load_base(folder, dtype=dtype, allow_pickle=allow_pickle)
    weights = model.state_dict()
    found = None if adapter is None else read_adapter(adapter).fitted(weights, adapter)
    if found is not None:
        weights = _with_own_vocabulary(model, found)
    exact = None if model.dtype == torch.float32 else ExactWeights(folder, weights, found)
    if found is not None:
        merge_adapter(found, weights, exact)
    return model, exact


def is_causal(config: PretrainedConfig) -> bool:
    """Whether models of this kind read from left to right only, such as Llama, Mistral and Qwen."""
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def embedding_table(model: PreTrainedModel) -> Tensor:
    """The weights (tokens, width) that token ids are looked up in."""
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    return table


def _with_own_vocabulary(model: PreTrainedModel, adapter: Adapter) -> dict[str, Tensor]:
    """The weights' names, after the embedding table has taken the size that the adapter's has."""
    table = embedding_table(model)
    for name, weight in model.state_dict().items():
        new = adapter.replaced.get(name)
        if weight.data_ptr() == table.data_ptr() and new is not None and len(new) != len(table):
            model.resize_token_embeddings(len(new), mean_resizing=False)
    return model.state_dict()


def _load_base(folder: Path, *, dtype: torch.dtype, allow_pickle: bool) -> PreTrainedModel:
    try:
        with quiet_transformers():
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
