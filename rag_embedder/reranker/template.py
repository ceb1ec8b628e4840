"""How a query and a text become the one sequence of token ids that a reranker reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from rag_embedder.errors import InputError, ModelLoadError
from rag_embedder.tokenizer import TokenizedText


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTemplate:
    """What stands before query and text, and how the two are put together.

    `query` and `document` are read before each. `is_joined` makes both one text with a space between; else each is
    tokenized alone and the tokenizer's own special tokens stand around them. `ends` puts the end-of-sequence token
    last, so that a decoder's score is read there and not at the last token of the text.
    """

    name: str
    query: str = ""
    document: str = ""
    is_joined: bool = False
    ends: bool = False


TEMPLATES: Mapping[str, PairTemplate] = {
    template.name: template
    for template in (
        PairTemplate(name="pair"),
        PairTemplate(name="rankllama", query="query: ", document="document: "),
        PairTemplate(name="rankllama-eos", query="query: ", document="document: ", is_joined=True, ends=True),
    )
}
"""Name -> template.

pair            the tokenizer's own pair, `[CLS] query [SEP] text [SEP]` for BERT: every cross-encoder
rankllama       `<s>query: ...<s>document: ...`, as the published checkpoints were trained (arXiv 2310.08319): the start
                token before each part, no end token, since the score overflowed float16 there
rankllama-eos   `<s>query: ... document: ...</s>`, the form that the paper prints
"""


@dataclass(frozen=True, slots=True)
class _Around:
    """Special tokens before the query, between query and text, and after the text; whether types tell them apart."""

    first: tuple[int, ...]
    middle: tuple[int, ...]
    last: tuple[int, ...]
    has_types: bool = False

    @property
    def count(self) -> int:
        return len(self.first) + len(self.middle) + len(self.last)


class PairTokenizer:
    """Pairs to token ids; what is too long loses the end of the text, never of the query.

    Text that looks like a special token is read as plain text.

    Raises:
        ModelLoadError: if the tokenizer's own way to join two texts is none that is understood here.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: PairTemplate,
        *,
        max_length: int,
        end_id: int | None = None,
        has_types: bool = False,
    ) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._around = _around(tokenizer, template, end_id)
        self._has_types = has_types and self._around.has_types
        self.template = template
        self.max_length = max_length

    def definition(self) -> str:
        """The whole tokenizer as JSON."""
        return self._tokenizer.to_str()

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id, added tokens included."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def rooms(self, queries: Sequence[str]) -> list[int]:
        """Tokens of a text that are read with each query; 0 or less where the query takes all the room."""
        return [self.max_length - self._around.count - len(ids) for ids in self._ids(map(self._query_part, queries))]

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[TokenizedText]:
        """Ids of every pair, special tokens included, cut to `max_length`.

        Raises:
            InputError: for a query that leaves no room for a text, with the position of its pair.
        """
        queries = list(dict.fromkeys(query for query, _ in pairs))
        rooms = dict(zip(queries, self.rooms(queries), strict=True))
        for position, (query, _) in enumerate(pairs):
            if rooms[query] < 1:
                raise InputError(f"pairs[{position}]: {self.too_long(rooms[query])}")
        around, room = self._around, self.max_length - self._around.count
        if self.template.is_joined:
            texts = [f"{self._query_part(query)} {text}" for query, text in pairs]
            return [
                TokenizedText([*around.first, *ids[:room], *around.last], len(ids) + around.count)
                for ids in self._ids(texts)
            ]
        starts = dict(zip(queries, self._ids(map(self._query_part, queries)), strict=True))
        rows = []
        for (query, _), ids in zip(pairs, self._ids(self.template.document + text for _, text in pairs), strict=True):
            start = [*around.first, *starts[query], *around.middle]
            cut = ids[: rooms[query]]
            rows.append(TokenizedText([*start, *cut, *around.last], len(start) + len(ids) + len(around.last)))
        return rows

    def too_long(self, room: int) -> str:
        """The end of an error about a query that leaves `room` tokens for a text."""
        most = self.max_length - self._around.count
        return (
            f"the query has {most - room} tokens; expected less than {most}, so that a text has room. Shorten it, or "
            "load the reranker with a larger max_length."
        )

    def types_of(self, rows: Sequence[Sequence[int]]) -> list[list[int]] | None:
        """Token types of rows of ids: 0 up to what stands between query and text, then 1; None where there are none."""
        return [self._types(row) for row in rows] if self._has_types else None

    def _query_part(self, query: str) -> str:
        template = self.template
        return f"{template.query}{query} {template.document.rstrip()}" if template.is_joined else template.query + query

    def _types(self, ids: Sequence[int]) -> list[int]:
        # A text holds no special token, so the first one after the start ends the query.
        border = list(ids).index(self._around.middle[0], len(self._around.first)) + len(self._around.middle)
        return [0] * border + [1] * (len(ids) - border)

    def _ids(self, texts: Iterable[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def _around(tokenizer: Tokenizer, template: PairTemplate, end_id: int | None) -> _Around:
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    if template.name == "pair":
        return _around_pair(tokenizer, bare)
    one = tokenizer.encode("a", add_special_tokens=True).ids
    start = _place(one, bare, 0)
    first, last = tuple(one[:start]), tuple(one[start + len(bare) :])
    if template.ends:
        if end_id is None:
            raise ModelLoadError(
                f"template {template.name!r} ends with the end-of-text token, and the tokenizer's files name none; "
                "expected eos_token in tokenizer_config.json. Use template='rankllama'."
            )
        last = (end_id,)
    return _Around(first, () if template.is_joined else first, last)


def _around_pair(tokenizer: Tokenizer, bare: list[int]) -> _Around:
    both = tokenizer.encode("a", "a", add_special_tokens=True)
    one = _place(both.ids, bare, 0)
    other = _place(both.ids, bare, one + len(bare))
    around = _Around(
        tuple(both.ids[:one]),
        tuple(both.ids[one + len(bare) : other]),
        tuple(both.ids[other + len(bare) :]),
        has_types=any(both.type_ids),
    )
    is_plain = both.type_ids in ([0] * len(both.ids), [0] * other + [1] * (len(both.ids) - other))
    if not around.middle or not is_plain:
        raise ModelLoadError(
            "the tokenizer does not join two texts as cross-encoders do; expected special tokens between them and "
            "token types 0, then 1. For a decoder pass template='rankllama'."
        )
    return around


def _place(ids: Sequence[int], part: Sequence[int], start: int) -> int:
    """Where `part` begins in `ids`, from `start` on."""
    for place in range(start, len(ids) - len(part) + 1):
        if list(ids[place : place + len(part)]) == list(part):
            return place
    raise ModelLoadError("the tokenizer reads a letter differently in a pair; expected one that reads each part alone.")
