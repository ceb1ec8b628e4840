"""Loading a Hugging Face model whole: nothing from the network, no code of the model's, nothing filled in at random."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from rag_embedder.errors import ModelLoadError


def load_whole(model_class: Any, folder: Path, dtype: torch.dtype, *, what: str) -> PreTrainedModel:  # noqa: ANN401
    """The model of a folder by one of transformers' `AutoModelFor...` classes; `what` names its kind in errors.

    Raises:
        ModelLoadError: if it cannot be read, or a tensor is missing or of the wrong shape.
    """
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # one bar for a load of seconds
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        model, report = model_class.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
            output_loading_info=True,
        )
    except Exception as error:  # every library below has its own
        raise ModelLoadError(
            f"cannot load the {what} in {folder}: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    finally:
        if had_bars:
            transformers_logging.enable_progress_bar()
    wrong = sorted([*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])])
    if wrong:
        raise ModelLoadError(
            f"weights in {folder} do not fit its config.json: {len(wrong)} tensors are missing or of the wrong shape "
            f"(first: {', '.join(wrong[:5])}). Expected a complete {what}."
        )
    return model
