"""The folder a trained model becomes: what transformers reads, there whole or not at all."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rag_embedder.engine.exclusive import quiet_transformers


def save_model_folder(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    weights: Mapping[str, Tensor] | None = None,
    add_files: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Write config, safetensors and tokenizer files; a folder that was there is replaced by a whole one.

    `weights` stand for the model's own where given; `add_files` is called with the folder before it has its name.
    """
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    with quiet_transformers():
        model.save_pretrained(unfinished, state_dict=None if weights is None else dict(weights))
        tokenizer.save_pretrained(unfinished)
        add_files(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return folder
