"""Dialogue turns as they come from callers, and the exchanges they form."""

from collections.abc import Iterable, Mapping

from rag_embedder.errors import InputError, InvalidTextError
from rag_embedder.retrievers.entries import is_blank
from rag_embedder.texts import check_text
from rag_embedder.types import Turn

ROLES = ("user", "assistant", "system", "tool")


def as_turns(turns: Iterable[Turn | Mapping[str, str]], *, field: str = "turns") -> list[Turn]:
    """`Turn`s, from `Turn`s or {"role", "content"} dicts; content None, as in a message that calls tools, is empty.

    Raises:
        InputError: for anything else, an unknown role, or content that is not text; the message names the position.
    """
    if isinstance(turns, str | bytes | Turn | Mapping) or not isinstance(turns, Iterable):
        raise InvalidTextError(
            f"{field}: got a bare {type(turns).__name__}; expected a list of turns. Wrap it in a list."
        )
    return [_as_turn(turn, f"{field}[{position}]") for position, turn in enumerate(turns)]


def _as_turn(turn: object, field: str) -> Turn:
    if isinstance(turn, Mapping) and {"role", "content"} <= turn.keys():
        turn = Turn(turn["role"], "" if turn["content"] is None else turn["content"])
    if not isinstance(turn, Turn):
        raise InputError(f"{field}: got {type(turn).__name__}; expected a Turn or a dict with 'role' and 'content'.")
    if turn.role not in ROLES:
        raise InputError(f"{field}.role: got {turn.role!r}; expected one of: {', '.join(ROLES)}.")
    return Turn(turn.role, check_text(turn.content, field=f"{field}.content"))


def group_exchanges(turns: Iterable[Turn]) -> list[tuple[Turn, ...]]:
    """Each user turn with the replies that follow it; replies before the first user turn stand alone.

    System and tool turns, and turns without words, are left out: they are no memories of what was said.
    """
    exchanges: list[tuple[Turn, ...]] = []
    for turn in turns:
        if turn.role not in ("user", "assistant") or is_blank(turn.content):
            continue
        if turn.role == "assistant" and exchanges:
            exchanges[-1] = (*exchanges[-1], turn)
        else:
            exchanges.append((turn,))
    return exchanges
