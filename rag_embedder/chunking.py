"""Long text to chunks of at most so many tokens, as character spans of the original text."""

import math
from collections.abc import Sequence

_SNAP_BACK = 16
"""How many tokens a border may move back to fall between two words."""


def chunk_spans(
    text: str, offsets: Sequence[tuple[int, int]], *, chunk_tokens: int, overlap_tokens: int = 0
) -> list[tuple[int, int]]:
    """Character spans (start, end) of the chunks of `text`, in order; none if the text has no tokens.

    As few chunks as the limit allows, of about equal length: a last chunk of three words would match everything.

    Args:
        text: the text as given; `text[start:end]` is a chunk, whatever the tokenizer does to case and accents.
        offsets: the span of every token, from the model's own tokenizer.
        chunk_tokens: most tokens of one chunk. A border moves back to the last space within reach.
        overlap_tokens: tokens that the next chunk repeats, or a few more to start with a whole word; less than
            `chunk_tokens`.
    """
    # Two borders may move back for each chunk; a third of the stride is left, so the number of chunks stays bounded.
    reach = min(_SNAP_BACK, (chunk_tokens - overlap_tokens) // 3)
    count = len(_spans(text, offsets, chunk_tokens, overlap_tokens, reach))
    if count < 2:
        return _spans(text, offsets, chunk_tokens, overlap_tokens, reach)
    even = math.ceil((len(offsets) - overlap_tokens) / count) + overlap_tokens + reach
    return _spans(text, offsets, min(chunk_tokens, even), overlap_tokens, reach)


def _spans(
    text: str, offsets: Sequence[tuple[int, int]], chunk_tokens: int, overlap_tokens: int, reach: int
) -> list[tuple[int, int]]:
    """Chunks of at most `chunk_tokens`, each as long as it may be."""
    spans: list[tuple[int, int]] = []
    first = 0
    while first < len(offsets):
        stop = min(first + chunk_tokens, len(offsets))
        if stop < len(offsets):
            stop = _between_words(text, offsets, stop, max(first + 1, stop - reach))
        start = offsets[first][0] if first else len(text) - len(text.lstrip())
        spans.append((start, _end_before(text, offsets, stop)))
        if stop == len(offsets):
            break
        following = max(stop - overlap_tokens, first + 1)
        if overlap_tokens:
            following = _between_words(text, offsets, following, max(first + 1, following - reach))
        first = following
    return spans


def _between_words(text: str, offsets: Sequence[tuple[int, int]], border: int, lowest: int) -> int:
    """The last token from `border` down to `lowest` that begins a word; `border` if none does."""
    for candidate in range(border, lowest - 1, -1):
        start = offsets[candidate][0]
        if start == 0 or text[start - 1].isspace() or text[start].isspace():
            return candidate
    return border


def _end_before(text: str, offsets: Sequence[tuple[int, int]], stop: int) -> int:
    # Tokens leave out what the tokenizer drops (accents that stand apart, control characters): it belongs to the text.
    end = offsets[stop - 1][1]
    following = offsets[stop][0] if stop < len(offsets) else len(text)
    return max(end, following - len(text[end:following]) + len(text[end:following].rstrip()))
