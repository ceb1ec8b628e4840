"""The tokenizer of a model folder, read with transformers."""

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rag_embedder.errors import ModelLoadError


class TokenizerVocabulary:
    """A Hugging Face tokenizer. Chat templates are never applied: prompts are read as they are written."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path) -> "TokenizerVocabulary":
        """Read the tokenizer files of a folder; code from the model is never run.

        Raises:
            ModelLoadError: if they are missing or cannot be read.
        """
        try:
            return cls(AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False))
        except Exception as error:  # every library below has its own
            raise ModelLoadError(
                f"cannot read a tokenizer in {folder}: {type(error).__name__}: {str(error)[:200]}"
            ) from error

    @property
    def fallback_start(self) -> int | None:
        """The start token, or else the end token, which follows other texts in training."""
        start = self._tokenizer.bos_token_id
        end = self._tokenizer.eos_token_id
        return start if isinstance(start, int) else end if isinstance(end, int) else None

    @property
    def end_id(self) -> int | None:
        """The token that ends an answer."""
        end = self._tokenizer.eos_token_id
        return end if isinstance(end, int) else None

    @property
    def longest(self) -> int | None:
        """Tokens the tokenizer's files allow; None where they do not say."""
        longest = self._tokenizer.model_max_length
        return longest if longest < 10**9 else None

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Ids of each text."""
        if not texts:
            return []
        # verbose: it would warn of every text that is longer than the model reads
        made = self._tokenizer(list(texts), add_special_tokens=special, return_attention_mask=False, verbose=False)
        return [list(ids) for ids in made["input_ids"]]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each row; spaces are left as the tokens have them."""
        return [
            str(self._tokenizer.decode(list(row), skip_special_tokens=True, clean_up_tokenization_spaces=False))
            for row in ids
        ]

    def description(self) -> str:
        """What decides the ids: for fingerprints."""
        tokenizer = self._tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        rules = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
        return f"{rules} {tokenizer.bos_token_id} {tokenizer.eos_token_id}"
