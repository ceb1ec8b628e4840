"""The folder of a pre-trained decoder: a causal language model to transformers, an encoder to `Embedder.load`."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from evals.whole_file import write_json
from rag_embedder.model_folder import ModelSettings, write_our_file
from rag_embedder.prompt_form import PromptForm
from rag_embedder.scenario import INSTRUCTION_SETS
from trainer.language_model.model_folder import save_model_folder
from trainer.pretraining.model import JointDecoder


def save_encoder(
    folder: Path, decoder: JointDecoder, tokenizer: PreTrainedTokenizerFast, *, form: PromptForm, max_length: int
) -> Path:
    """Write whole weights, adapters merged, tokenizer and prompt form; a folder that was there is replaced."""
    settings = ModelSettings(
        name=folder.parent.name,
        pooling="last",
        max_length=max_length,
        lower_case=False,
        scenarios=INSTRUCTION_SETS["none"],
        training_state="pre-trained (EBAE and EBAR), not fine-tuned",
        prompt_form=form,
    )

    def add_files(path: Path) -> None:
        # transformers states the type of the model in memory; what is written is float32, adapters added.
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        write_json(config | {"dtype": "float32"}, path / "config.json")
        write_our_file(path, settings)

    return save_model_folder(
        folder,
        decoder.model,
        tokenizer,
        weights=decoder.weights(),
        add_files=add_files,
    )
