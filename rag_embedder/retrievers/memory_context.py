"""Memories as a block of text for a prompt, within a budget of tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from rag_embedder.types import Chunk, Exchange, Turn

_CUT = " ..."
"""Ends a turn whose end is left out."""


def write_context(
    memories: Sequence[Exchange | Chunk],
    *,
    written: Sequence[int],
    max_tokens: int,
    count_tokens: Callable[[str], int],
) -> str:
    """The block for the best memories that fit together, in time order; empty if none fits.

    An exchange that does not fit is shortened, to half of the budget at most: replies lose their ends first, then the
    user's words. Lines after the first of a turn are indented, so that nothing said can look like another turn.

    Args:
        memories: best first; each is taken if the block with it is within the budget, and passed over otherwise.
        written: when each was written, as growing numbers.
        max_tokens: budget of the whole block, headings included.
        count_tokens: tokens of a text.
    """
    taken: list[Exchange | Chunk] = []
    times: list[int] = []
    used = 0
    for memory, time in zip(memories, written, strict=True):

        def tokens_with(item: Exchange | Chunk, time: int = time) -> int:
            return count_tokens(_block([*taken, item], [*times, time]))

        limit = min(max_tokens, used + max_tokens // 2)
        for item in _versions(memory, lambda item, count=tokens_with, limit=limit: count(item) <= limit):
            needed = tokens_with(item)
            if needed <= max_tokens:
                taken.append(item)
                times.append(time)
                used = needed
                break
    return _block(taken, times) if taken else ""


def _versions(item: Exchange | Chunk, fits: Callable[[Exchange], bool]) -> Iterator[Exchange | Chunk]:
    """The memory, then what may stand for it: a chunk without what follows it, an exchange that is shortened to fit."""
    yield item
    if isinstance(item, Exchange):
        shortened = _shortened(item, fits)
        if shortened is not None:
            yield shortened
    elif item.continuation:
        yield Chunk(item.id, item.text, item.document_id, item.start, item.end)


def _shortened(exchange: Exchange, fits: Callable[[Exchange], bool]) -> Exchange | None:
    """As much of the exchange as fits, the last turns cut first; None if not even a word of the first turn does."""
    turns = list(exchange.turns)
    while turns:
        words = turns[-1].content.split(" ")
        fewest, most = 0, len(words) - 1
        while fewest < most:  # the largest number of words that fits
            middle = (fewest + most + 1) // 2
            if fits(replace(exchange, turns=(*turns[:-1], _cut(turns[-1], words[:middle])))):
                fewest = middle
            else:
                most = middle - 1
        candidate = replace(exchange, turns=(*turns[:-1], _cut(turns[-1], words[:fewest])))
        if fewest and fits(candidate):
            return candidate
        turns.pop()
        if turns and fits(without := replace(exchange, turns=tuple(turns))):
            return without
    return None


def _cut(turn: Turn, words: Sequence[str]) -> Turn:
    return Turn(turn.role, " ".join(words) + _CUT)


def _block(items: Sequence[Exchange | Chunk], written: Sequence[int]) -> str:
    in_time = [item for _, item in sorted(zip(written, items, strict=True), key=lambda entry: entry[0])]
    sections: list[tuple[str, list[str]]] = []
    for item in in_time:
        heading = f"[session {item.session}]" if isinstance(item, Exchange) else f"[{item.document_id}]"
        if not sections or sections[-1][0] != heading:
            sections.append((heading, []))
        sections[-1][1].extend(_lines(item, sections[-1][1]))
    return "\n\n".join("\n".join([heading, *lines]) for heading, lines in sections)


def _lines(item: Exchange | Chunk, before: Sequence[str]) -> list[str]:
    if isinstance(item, Exchange):
        return [_indented(f"{turn.role}: {turn.content}") for turn in item.turns]
    # The continuation of one chunk may be the next chunk: print it once.
    pieces = [item.text, *([item.continuation] if item.continuation else [])]
    return [piece for piece in map(_indented, pieces) if piece not in before]


def _indented(text: str) -> str:
    return "\n  ".join(text.splitlines())
