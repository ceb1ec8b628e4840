"""The weights of a reranker: a whole classifier with one output, or an adapter over a decoder, merged at load."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from rag_embedder.engine.adapter import read_adapter
from rag_embedder.engine.exact_weights import ExactWeights, merge_adapter
from rag_embedder.engine.whole_weights import load_whole, load_with_new
from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_folder import check_weights
from rag_embedder.model_source import ModelSource

WHAT = "cross-encoder with its classification head"
_HEAD = re.compile(r"(score|classifier|pre_classifier)\.|(.*\.)?pooler\.")


def is_head(name: str) -> bool:
    """Whether a tensor of this name turns token states into the score; BERT's pooler does."""
    return _HEAD.match(name) is not None


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """Sha256 over the tensors as they are held, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_weights(source: ModelSource, dtype: torch.dtype, *, allow_pickle: bool = False) -> PreTrainedModel:
    """Read a folder's model into `dtype` at once, so that a large one never takes more memory than it needs.

    Raises:
        ModelLoadError: if it is not whole, or is no classifier.
        UntrustedModelError: if it would need pickled weights.
        ConfigError: if it has more than one output.
    """
    if source.delta is not None:
        raise ModelLoadError(f"{source.folder} holds differences to an encoder; expected a reranker with its head.")
    check_weights(source.files, allow_pickle=allow_pickle)
    if source.adapter is not None:
        check_weights(source.adapter, allow_pickle=False)
        return _load_adapter(source, source.adapter, dtype, allow_pickle=allow_pickle)
    model = load_whole(AutoModelForSequenceClassification, source.files, dtype, what=WHAT, allow_pickle=allow_pickle)
    if model.config.num_labels != 1:
        raise ConfigError(
            f"reranker: the model gives {model.config.num_labels} numbers for a pair; expected 1: a cross-encoder "
            "with one output."
        )
    return model


def _load_adapter(source: ModelSource, folder: Path, dtype: torch.dtype, *, allow_pickle: bool) -> PreTrainedModel:
    model, new = load_with_new(
        AutoModelForSequenceClassification,
        source.files,
        dtype,
        what="base of a reranker",
        may_be_new=is_head,
        num_labels=1,
        allow_pickle=allow_pickle,
    )
    weights = model.state_dict()
    found = read_adapter(folder)
    replaced = {name: tensor for name, tensor in found.replaced.items() if name in weights}
    wrong = [name for name, tensor in replaced.items() if tensor.shape != weights[name].shape]
    random = sorted(set(new) - replaced.keys())
    if random or wrong:
        raise ModelLoadError(
            f"the adapter in {folder} and its base have no {', '.join(random + wrong)} of the right shape; expected "
            "the score head in one of them. This is not the adapter of a reranker."
        )
    fitted = found.fitted(weights, folder)  # the score head, which it leaves out, is among what is replaced here
    changed = {name: weights[name] for name in fitted.added}
    is_rounded = dtype != torch.float32 and any(source.files.glob("*.safetensors"))
    merge_adapter(fitted, weights, ExactWeights(source.files, changed, fitted) if is_rounded else None)
    with torch.no_grad():
        for name, tensor in replaced.items():
            weights[name].copy_(tensor)
    return model
