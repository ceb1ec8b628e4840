"""The folder of a pre-trained decoder: a causal language model to transformers, an encoder to `Embedder.load`."""

from pathlib import Path

from transformers import PreTrainedTokenizerFast

from rag_embedder.prompt_form import PromptForm
from trainer.language_model.model_folder import save_model_folder
from trainer.pretraining.model import JointDecoder


def save_encoder(
    folder: Path, decoder: JointDecoder, tokenizer: PreTrainedTokenizerFast, *, form: PromptForm, max_length: int
) -> Path:
    """Write whole weights, adapters merged, and tokenizer; a folder that was there is replaced by a whole one."""
    return save_model_folder(folder, decoder.model, tokenizer, weights=decoder.weights())
