"""Dialogue turns as they come from callers, and the exchanges they form."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rag_embedder.errors import InputError, InvalidTextError
from rag_embedder.retrievers.entries import is_blank
from rag_embedder.texts import check_text
from rag_embedder.types import Turn

ROLES = ("user", "assistant", "system", "tool")


_MESSAGE_TYPES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
"""What LangChain's messages call the roles."""


def as_turns(turns: Iterable[Turn | Mapping[str, Any]], *, field: str = "turns") -> list[Turn]:
    """`Turn`s, from `Turn`s, {"role", "content"} dicts, or messages of LangChain and LlamaIndex.

    Content None, as in a message that calls tools, is empty; of content in blocks the text blocks are joined.

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
        turn = Turn(turn["role"], _text_of(turn["content"]))
    elif not isinstance(turn, Turn) and hasattr(turn, "content") and (hasattr(turn, "role") or hasattr(turn, "type")):
        # Known by shape, so that no framework is imported: LlamaIndex has an enum `role`, LangChain a string `type`.
        message: Any = turn
        role = message.role if hasattr(message, "role") else message.type
        role = str(getattr(role, "value", role))
        turn = Turn(_MESSAGE_TYPES.get(role, role), _text_of(message.content))
    if not isinstance(turn, Turn):
        raise InputError(f"{field}: got {type(turn).__name__}; expected a Turn or a dict with 'role' and 'content'.")
    if turn.role not in ROLES:
        raise InputError(f"{field}.role: got {turn.role!r}; expected one of: {', '.join(ROLES)}.")
    return Turn(turn.role, check_text(turn.content, field=f"{field}.content"))


def continued(
    stored: Sequence[Sequence[Turn]], given: Sequence[Sequence[Turn]]
) -> tuple[list[Turn], list[Sequence[Turn]]]:
    """What `given` adds to a session: the new form of its last exchange, empty if that stays, and new exchanges.

    Args:
        stored: the session's last exchanges, oldest first; all of them if there are no more than `given` has.
        given: the exchanges of one call. If they begin with those stored (all, or the last two or more), that part
            is a repetition; otherwise a reply at their beginning belongs to the last exchange stored.
    """
    for shared in range(min(len(stored), len(given)), 0, -1):
        before, last = given[: shared - 1], list(given[shared - 1])
        known = stored[len(stored) - shared :]
        is_enough = shared == len(stored) or shared >= 2
        if is_enough and all(map(_equal, before, known)) and last[: len(known[-1])] == list(known[-1]):
            return last if len(last) > len(known[-1]) else [], list(given[shared:])
    if stored and given and given[0][0].role == "assistant":
        return [*stored[-1], *given[0]], list(given[1:])
    return [], list(given)


def _equal(one: Sequence[Turn], other: Sequence[Turn]) -> bool:
    return list(one) == list(other)


def _text_of(content: Any) -> Any:  # noqa: ANN401  (checked afterwards)
    if content is None:
        return ""
    if isinstance(content, list):
        texts = [
            block if isinstance(block, str) else block.get("text") for block in content if isinstance(block, str | dict)
        ]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content


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


def join_dialogue(turns: Sequence[Turn], fits: Callable[[str], bool]) -> str:
    """The one query that a dialogue becomes: its user and assistant turns in order, joined by spaces (as for QReCC).

    Whole turns are left out, the oldest first, until the text `fits`; the last turn is always there. Empty if the last
    question is.

    Raises:
        InputError: if the dialogue does not end with the user.
    """
    spoken = [turn for turn in turns if turn.role in ("user", "assistant")]
    if spoken and spoken[-1].role != "user":
        raise InputError(
            f"dialogue: the last of its {len(spoken)} spoken turns is the {spoken[-1].role}'s; expected the "
            "user's question. Leave out what came after it."
        )
    if not spoken or is_blank(spoken[-1].content):
        return ""
    query = ""
    for turn in reversed(spoken):
        if is_blank(turn.content):
            continue
        longer = f"{turn.content.strip()} {query}".strip()
        # The newest turn is always taken; if it alone is too long, the encoder counts and reports the truncation.
        if query and not fits(longer):
            break
        query = longer
    return query
