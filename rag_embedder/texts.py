"""Checks what the caller passes as text, once, at the public boundary."""

import re
from collections.abc import Iterable, Mapping, Set

from rag_embedder.errors import InvalidTextError

_SURROGATE = re.compile("[\ud800-\udfff]")


def check_texts(texts: Iterable[str], *, field: str = "texts") -> list[str]:
    """The texts as a list, in order; any iterable of str will do (a list, a generator, an array of strings).

    Raises:
        InvalidTextError: for a bare string, a set or mapping, an element that is not a string, or half of a surrogate
            pair; the message names the position.
    """
    if isinstance(texts, (str, bytes)):
        raise InvalidTextError(
            f"{field}: got a bare {type(texts).__name__}; expected a list of str. Wrap it in a list: [text]."
        )
    if isinstance(texts, (Mapping, Set)):
        raise InvalidTextError(
            f"{field}: got {type(texts).__name__}, whose order says nothing; expected a list of str."
        )
    try:
        elements = iter(texts)
    except TypeError:
        raise InvalidTextError(f"{field}: got {type(texts).__name__}; expected a list of str.") from None
    return [check_text(text, field=f"{field}[{position}]") for position, text in enumerate(elements)]


def check_text(text: object, *, field: str) -> str:
    """One text; two halves of one surrogate pair (as some JSON writers leave them) are joined.

    Raises:
        InvalidTextError: if it is not a string, or half of a pair stands alone.
    """
    if not isinstance(text, str):
        raise InvalidTextError(f"{field}: got {type(text).__name__}; expected str.")
    if _SURROGATE.search(text) is None:
        return str(text)
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return _refuse_lone_surrogate(text, field)


def _refuse_lone_surrogate(text: str, field: str) -> str:
    pairs_removed = re.sub("[\ud800-\udbff][\udc00-\udfff]", "xx", text)
    lone = _SURROGATE.search(pairs_removed)
    position = lone.start() if lone else 0
    raise InvalidTextError(
        f"{field}: lone surrogate U+{ord(text[position]):04X} at character {position}; expected valid Unicode. "
        "Replace it, for example with text.encode('utf-8', 'replace').decode()."
    )
