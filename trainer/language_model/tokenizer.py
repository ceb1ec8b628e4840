"""The tokenizer of the model that is trained: learned from its texts, or an encoder's own."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rag_embedder.errors import ModelLoadError

START, END = "<s>", "</s>"


def learned_tokenizer(texts: Iterable[str], *, vocabulary_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE (Radford et al. 2019): every text has ids, and ids give it back. A sequence begins with <s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, tokenizer.token_to_id(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=START, eos_token=END, pad_token=END, model_max_length=max_length
    )


def encoder_tokenizer(folder: Path, *, max_length: int) -> PreTrainedTokenizerFast:
    """An encoder's tokenizer, whose first and last special token become the start and the end of a text.

    Raises:
        ModelLoadError: if it cannot be read, or has no such tokens.
    """
    tokenizer = open_tokenizer(folder)
    tokenizer.model_max_length = max_length
    if tokenizer.bos_token is None:
        tokenizer.bos_token = tokenizer.cls_token
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token
    if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        raise ModelLoadError(f"the tokenizer in {folder} has no start and end token; expected [CLS] and [SEP].")
    return tokenizer


def open_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer files of a folder.

    Raises:
        ModelLoadError: if they are missing, cannot be read, or are not of a fast tokenizer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # every library below has its own
        raise ModelLoadError(
            f"cannot read a tokenizer in {folder}: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelLoadError(f"the tokenizer in {folder} is {type(tokenizer).__name__}; expected a fast tokenizer.")
    return tokenizer
