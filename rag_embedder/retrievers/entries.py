"""What is added to a retriever: checked with its position, given an id, and hashed so that no change goes unnoticed."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rag_embedder.errors import InvalidTextError
from rag_embedder.search import duplicate_id
from rag_embedder.store import NewEntry
from rag_embedder.texts import check_text


def check_document_text(text: object, *, field: str) -> str:
    """A text that can be stored and found.

    Raises:
        InvalidTextError: if it is not a string, or nothing in it can be seen.
    """
    checked = check_text(text, field=field)
    if is_blank(checked):
        raise InvalidTextError(f"{field}: the text is empty; expected words to search for. Nothing was added.")
    return checked


def is_blank(text: str) -> bool:
    """Whether a text is empty, or only white space, control and zero-width characters: no token comes of it."""
    return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in text)


def check_list(items: object, *, field: str, expected: str) -> None:
    """Refuse what is not a list of items: one bare item, or no iterable at all.

    Raises:
        InvalidTextError: saying what came and that `expected` were wanted.
    """
    # pydantic's objects (a LangChain tool, a document) iterate over their fields.
    if (
        isinstance(items, str | bytes | Mapping)
        or hasattr(type(items), "model_fields")
        or not isinstance(items, Iterable)
    ):
        raise InvalidTextError(
            f"{field}: got {type(items).__name__}; expected a list of {expected}. Wrap a single one in a list: [item]. "
            "Nothing was added."
        )


class NewEntries:
    """The entries of one `add`, in order.

    Entries whose id was made from their content may repeat: they mean the same thing, and the last one counts.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._entries: dict[str, NewEntry] = {}
        self._given: dict[str, int] = {}

    def append(self, entry: NewEntry, *, has_own_id: bool) -> None:
        """Take in the next entry.

        Raises:
            DuplicateIdError: if the caller gave its id to another entry as well.
        """
        position = len(self.ids)
        first = self._given.get(entry.id)
        if first is None and has_own_id and entry.id in self._entries:
            first = self.ids.index(entry.id)
        if first is not None:
            raise duplicate_id(entry.id, first, position)
        if has_own_id:
            self._given[entry.id] = position
        self.ids.append(entry.id)
        self._entries[entry.id] = entry

    def __iter__(self) -> Iterator[NewEntry]:
        return iter(self._entries.values())


def content_id(*texts: str) -> str:
    """A stable id made from content: 32 hex digits."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


def digest(payloads: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> str:
    """Hash over everything that is stored and encoded for one entry: equal means that nothing has changed."""
    try:
        content = json.dumps([list(map(dict, payloads)), dict(metadata)], sort_keys=True, default=_as_dict)
    except (TypeError, ValueError, RecursionError):
        return ""  # not JSON: the store refuses it with the path of the value
    return hashlib.sha256(content.encode()).hexdigest()


def _as_dict(value: object) -> dict[Any, Any]:
    # The store takes any mapping, so two different ones must not get one digest.
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError
