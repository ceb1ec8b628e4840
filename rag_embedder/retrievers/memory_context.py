"""Memories as a block of text for a prompt, within a budget of tokens."""

from collections.abc import Callable, Sequence

from rag_embedder.types import Chunk, Exchange


def write_context(
    memories: Sequence[Exchange | Chunk],
    *,
    written: Sequence[int],
    max_tokens: int,
    count_tokens: Callable[[str], int],
) -> str:
    """The block for the best memories that fit together, in time order; empty if none fits.

    Args:
        memories: best first; each is taken if the block with it is within the budget, and passed over otherwise.
        written: when each was written, as growing numbers.
        max_tokens: budget of the whole block, headings included.
        count_tokens: tokens of a text.
    """
    taken: list[Exchange | Chunk] = []
    times: list[int] = []
    block = ""
    for memory, time in zip(memories, written, strict=True):
        for item in _versions(memory):
            longer = _block([*taken, item], [*times, time])
            if count_tokens(longer) <= max_tokens:
                taken.append(item)
                times.append(time)
                block = longer
                break
    return block


def _versions(item: Exchange | Chunk) -> list[Exchange | Chunk]:
    # A chunk with what follows it, or else alone.
    if isinstance(item, Chunk) and item.continuation:
        alone = Chunk(item.id, item.text, item.document_id, item.start, item.end)
        return [item, alone]
    return [item]


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
        return [item.text]
    # The continuation of one chunk may be the next chunk: print it once.
    pieces = [item.text, *([item.continuation] if item.continuation else [])]
    return [piece for piece in pieces if piece not in before]
