"""Text to token ids, with a tokenizer whose settings never change after loading, so that threads can share it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.prompt_form import PromptForm, RoleIds, TokenisedForm, special_tokens_around
from rag_embedder.scenario import Role

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

VOCABULARY_FILES = ("tokenizer.json", *_VOCABULARIES)
"""The files of which a tokenizer needs one."""


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

    With a prompt form its prompts stand around every text, in the place of what the tokenizer would put behind it;
    `end` is the end-of-text token, for forms that name it.

    Raises:
        ConfigError: if a slot of the form is not one token, or its prompt leaves no room for a text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        lower_case: bool = False,
        form: PromptForm | None = None,
        end: str | None = None,
    ) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._lower_case = lower_case
        self.max_length = max_length
        before, after = special_tokens_around(tokenizer)
        plain = RoleIds(before=tuple(before), after=tuple(after), num_slots=0)
        self._plain = TokenisedForm(query=plain, document=plain)
        self._form = self._plain if form is None else form.tokenised(tokenizer, end=end)
        self._own_slots = frozenset() if form is None else form.own_slots(self._form)
        longest = max(self._form.query.num_tokens, self._form.document.num_tokens)
        if form is not None and longest >= max_length:
            raise ConfigError(
                f"max_length is {max_length}, but the prompt of form {form.name!r} alone has {longest} tokens; "
                "expected more, so that a text has room."
            )

    @classmethod
    def from_folder(
        cls, folder: Path, *, max_length: int, lower_case: bool = False, form: PromptForm | None = None
    ) -> "TextTokenizer":
        """Read `tokenizer.json`, or convert an older vocabulary through transformers.

        Raises:
            ModelLoadError: if the folder holds no tokenizer that can be read.
        """
        tokenizer, end = read_tokenizer(folder)
        return cls(tokenizer, max_length=max_length, lower_case=lower_case, form=form, end=end)

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id, added tokens included; ids may have gaps."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def definition(self) -> str:
        """The whole tokenizer as JSON: part of the model's fingerprint."""
        return self._tokenizer.to_str()

    @property
    def own_slots(self) -> frozenset[int]:
        """Ids of the tokens that exist for the prompt form alone; the end-of-text token is none of them."""
        return self._own_slots

    @property
    def adds_form(self) -> bool:
        """Whether the tokenizer puts around a text by itself all that the model reads there, but for joined text."""
        around = [(role.before, role.after) for role in (self._form.query, self._form.document)]
        return around == [(self._plain.query.before, self._plain.query.after)] * 2

    def encode(self, texts: Sequence[str], role: Role = "document") -> list[TokenizedText]:
        """Token ids of every text, cut on the right to `max_length`, prompt and special tokens kept.

        The role matters to prompt forms only.
        """
        around = self._form.of(role)
        texts = [around.joined + text for text in texts] if around.joined else texts
        encodings = self._tokenizer.encode_batch_fast(self._prepared(texts), add_special_tokens=False)
        return [
            TokenizedText(around.ids(ids, self.max_length), len(ids) + around.num_tokens)
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


def read_tokenizer(folder: Path) -> tuple[Tokenizer, str | None]:
    """A folder's `tokenizer.json`, or an older vocabulary converted through transformers; and its end-of-text token.

    Raises:
        ModelLoadError: if the folder holds no tokenizer that can be read.
    """
    try:
        end = None
        if (folder / "tokenizer.json").exists():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            end = _stated_end(folder)
        elif not any((folder / name).exists() for name in _VOCABULARIES):
            # transformers would make up an empty vocabulary, and every word would be the unknown one.
            raise FileNotFoundError(f"none of tokenizer.json, {', '.join(_VOCABULARIES)} is there")
        else:
            from transformers import AutoTokenizer

            slow = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            tokenizer, end = slow.backend_tokenizer, slow.eos_token
    except Exception as error:  # tokenizers raises bare Exception for an unreadable file
        raise ModelLoadError(
            f"no readable tokenizer in {folder}: {error}. Expected tokenizer.json, or a vocabulary that "
            "transformers can convert."
        ) from error
    return tokenizer, end


def _stated_end(folder: Path) -> str | None:
    """The end-of-text token that transformers' files beside tokenizer.json state."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        content = json.loads((folder / name).read_text(encoding="utf-8")) if (folder / name).exists() else {}
        token = content.get("eos_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token:
            return token
    return None
