"""The set of token ids that a vector must predict."""

import numpy as np
from transformers import PreTrainedTokenizerFast

from trainer.language_model.documents import Ids
from trainer.pretraining.stop_words import STOP_WORDS

_WORD_STARTS = ("\u2581", "\u0120")
"""What begins a token that begins a word: SentencePiece's mark, and byte-level BPE's."""


class TargetWords:
    """Which entries of a vocabulary can be targets: no special ones, and with `remove_stop_words` no stop words.

    Removed are whole entries: those without a letter or digit, and those that are a stop word at the beginning of a
    word ("his" but not the last piece of "history"), so that what remains has the pieces that the text has.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, remove_stop_words: bool) -> None:
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        special.update(tokenizer.all_special_ids)
        removed = _stop_ids(tokenizer) if remove_stop_words else set()
        self.excluded = np.array(sorted(special | removed), dtype=np.int32)

    def of(self, ids: Ids) -> Ids:
        """The distinct ids that remain, rising; perhaps none."""
        return np.setdiff1d(ids, self.excluded).astype(np.int32)


def _stop_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    vocabulary = tokenizer.get_vocab()
    is_marked = any(token.startswith(_WORD_STARTS) and len(token) > 1 for token in vocabulary)
    texts = tokenizer.batch_decode([[number] for number in vocabulary.values()])
    return {
        number
        for (token, number), text in zip(vocabulary.items(), texts, strict=True)
        if _has_no_letter(text) or (_begins_word(token, is_marked=is_marked) and text.strip().lower() in STOP_WORDS)
    }


def _has_no_letter(text: str) -> bool:
    # A part of a character decodes to the replacement character, and is kept: it is a letter of some script.
    return "\ufffd" not in text and not any(character.isalnum() for character in text)


def _begins_word(token: str, *, is_marked: bool) -> bool:
    """By the mark of vocabularies that have one; WordPiece marks what does not begin a word instead."""
    return token.startswith(_WORD_STARTS) if is_marked else not token.startswith("##")
