"""Loading a Hugging Face model whole: nothing from the network, no code of the model's, nothing filled in at random."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from rag_embedder.engine.exclusive import quiet_transformers
from rag_embedder.errors import ModelLoadError


def load_whole(
    model_class: Any,  # noqa: ANN401
    folder: Path,
    dtype: torch.dtype,
    *,
    what: str,
    allow_pickle: bool = False,
) -> PreTrainedModel:
    """The model of a folder by one of transformers' `AutoModelFor...` classes; `what` names its kind in errors.

    Raises:
        ModelLoadError: if it cannot be read, or a tensor is missing or of the wrong shape.
    """
    model, _ = load_with_new(
        model_class, folder, dtype, what=what, may_be_new=lambda _: False, allow_pickle=allow_pickle
    )
    return model


def load_with_new(
    model_class: Any,  # noqa: ANN401
    folder: Path,
    dtype: torch.dtype,
    *,
    what: str,
    may_be_new: Callable[[str], bool],
    num_labels: int | None = None,
    allow_pickle: bool = False,
) -> tuple[PreTrainedModel, list[str]]:
    """As `load_whole`, but tensors whose name `may_be_new` accepts may be missing; returns their names too.

    Those have the values that transformers draws for them, from torch's global generator. `num_labels` is the number
    of outputs of a classifier, where the folder's config is of a model without one.
    """
    more = {} if num_labels is None else {"num_labels": num_labels}
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **more)
            config.transformers_weights = None  # a config could name a pickled file there
            model, report = model_class.from_pretrained(
                str(folder),
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=not allow_pickle or any(folder.glob("*.safetensors")),
                ignore_mismatched_sizes=True,  # refused below, with their names
                output_loading_info=True,
            )
    except Exception as error:  # every library below has its own
        raise ModelLoadError(
            f"cannot load the {what} in {folder}: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    missing, mismatched = sorted(report["missing_keys"]), sorted(entry[0] for entry in report["mismatched_keys"])
    wrong = sorted([*(name for name in missing if not may_be_new(name)), *mismatched])
    if wrong:
        raise ModelLoadError(
            f"weights in {folder} do not fit its config.json: {len(wrong)} tensors are missing or of the wrong shape "
            f"(first: {', '.join(wrong[:5])}). Expected a complete {what}."
        )
    return model, missing
