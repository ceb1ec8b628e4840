"""Text to token ids, with a tokenizer whose settings never change after loading, so that threads can share it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from rag_embedder.errors import ModelLoadError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
"""The files a tokenizer may consist of; `save` copies those that exist."""

_VOCABULARIES = ("vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Ids the model reads, special tokens included, and how many there were before truncation."""

    ids: list[int]
    num_tokens: int

    @property
    def is_truncated(self) -> bool:
        """Whether the model reads less than the whole text."""
        return self.num_tokens > len(self.ids)


class TextTokenizer:
    """A fast tokenizer without padding and truncation of its own; both are done here, on plain lists.

    Changing those settings per call is what makes shared tokenizers fail under threads. Text that looks like a
    special token ("[SEP]") is read as plain text: a document cannot end its own encoding.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, lower_case: bool = False) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._lower_case = lower_case
        self.max_length = max_length
        bare = tokenizer.encode("a", add_special_tokens=False).ids
        full = tokenizer.encode("a", add_special_tokens=True).ids
        start = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
        self._prefix, self._suffix = full[:start], full[start + len(bare) :]
        self._room = max_length - len(self._prefix) - len(self._suffix)

    @classmethod
    def from_folder(cls, folder: Path, *, max_length: int, lower_case: bool = False) -> "TextTokenizer":
        """Read `tokenizer.json`, or convert an older vocabulary through transformers.

        Raises:
            ModelLoadError: if the folder holds no tokenizer that can be read.
        """
        tokenizer = read_tokenizer(folder)
        return cls(tokenizer, max_length=max_length, lower_case=lower_case)

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id, added tokens included; ids may have gaps."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def definition(self) -> str:
        """The whole tokenizer as JSON: part of the model's fingerprint."""
        return self._tokenizer.to_str()

    def encode(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Token ids of every text, cut on the right to `max_length`, special tokens kept."""
        encodings = self._tokenizer.encode_batch_fast(self._prepared(texts), add_special_tokens=False)
        num_special = len(self._prefix) + len(self._suffix)
        return [
            TokenizedText([*self._prefix, *ids[: self._room], *self._suffix], len(ids) + num_special)
            for ids in (encoding.ids for encoding in encodings)
        ]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Character span of every token, in order, without special tokens.

        Raises nothing for odd text; spans refer to the text as given, also for uncased models.
        """
        return self._tokenizer.encode(text, add_special_tokens=False).offsets

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text, special tokens left out and nothing cut."""
        return [
            len(encoding.ids)
            for encoding in self._tokenizer.encode_batch_fast(self._prepared(texts), add_special_tokens=False)
        ]

    def _prepared(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self._lower_case else list(texts)


def read_tokenizer(folder: Path) -> Tokenizer:
    """A folder's `tokenizer.json`, or an older vocabulary converted through transformers.

    Raises:
        ModelLoadError: if the folder holds no tokenizer that can be read.
    """
    try:
        if (folder / "tokenizer.json").exists():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        elif not any((folder / name).exists() for name in _VOCABULARIES):
            # transformers would make up an empty vocabulary, and every word would be the unknown one.
            raise FileNotFoundError(f"none of tokenizer.json, {', '.join(_VOCABULARIES)} is there")
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            ).backend_tokenizer
    except Exception as error:  # tokenizers raises bare Exception for an unreadable file
        raise ModelLoadError(
            f"no readable tokenizer in {folder}: {error}. Expected tokenizer.json, or a vocabulary that "
            "transformers can convert."
        ) from error
    return tokenizer
