"""False negatives: documents that stand in a batch as negatives of a query and are known to be something else.

A document is recognised by its id and by its text, each as a 64-bit integer, so that the documents of all processes
can be compared where their scores are, without sending a text.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from rag_embedder.errors import InputError

_NO_DOCUMENT = 0  # fills rows of unequal length; no document has this hash


def document_hashes(texts: Sequence[str], ids: Sequence[str] | None = None) -> Tensor:
    """One row of two hashes per document, of its id and of its text: (n, 2) int64 on the CPU, equal in every process.

    Texts that differ in white space only are equal. Without ids, or where one is empty, the text decides alone; pass
    none where ids count inside an example, such as turns of a dialogue, and so do not name one document.

    Raises:
        InputError: if there are not as many ids as texts.
    """
    if ids is None:
        ids = [""] * len(texts)
    if len(ids) != len(texts):
        raise InputError(f"{len(ids)} ids came for {len(texts)} documents; expected one each")
    rows = []
    for text, document_id in zip(texts, ids, strict=True):
        text_hash = _hash("text", " ".join(text.split()))
        rows.append((_hash("id", document_id) if document_id else text_hash, text_hash))
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 2)


def padded_hashes(rows: Sequence[Tensor]) -> Tensor:
    """Hashes of unequally many documents per query, B tensors of (p, 2), as one (B, P, 2) for `negatives_mask`."""
    longest = max((len(row) for row in rows), default=0)
    padded = torch.full((len(rows), longest, 2), _NO_DOCUMENT, dtype=torch.int64)
    for row, hashes in zip(padded, rows, strict=True):
        row[: len(hashes)] = hashes
    return padded


def negatives_mask(documents: Tensor, own: Tensor, *, positives: Tensor | None = None) -> Tensor:
    """Which documents may be negatives of which query, (B, N) bool.

    `documents` (N, 2) are the hashes of all documents of the batch, `own` (B, G) the columns of each query's own
    candidates, `positives` (B, P, 2) the hashes of further documents known to be relevant to it. Another query's
    document is no negative if it is a copy of an own candidate, which counts in its own column, or a known positive.
    An own candidate stays, whoever knows it, unless it is a copy of an earlier one.
    """
    candidates = documents[own]  # (B, G, 2)
    known = candidates if positives is None else torch.cat([candidates, positives.to(documents.device)], dim=1)
    is_known = torch.zeros(own.shape[0], documents.shape[0], dtype=torch.bool, device=documents.device)
    # One slot at a time: all at once would need B x G x N entries.
    for slot in known.unbind(dim=1):
        is_known |= _same(slot.unsqueeze(1), documents)
    copies = _same(candidates.unsqueeze(2), candidates.unsqueeze(1)).tril(diagonal=-1).any(dim=2)
    return (~is_known).scatter(1, own, ~copies)


def _same(left: Tensor, right: Tensor) -> Tensor:
    """Whether ids or texts are equal, (..., 2) x (..., 2) -> (...)."""
    return (left[..., 0] == right[..., 0]) | (left[..., 1] == right[..., 1])


def _hash(kind: str, value: str) -> int:
    """A signed 64-bit hash that is the same in every process, unlike Python's own, and never `_NO_DOCUMENT`."""
    digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8, person=kind.encode()).digest()
    return int.from_bytes(digest, "little", signed=True) or 1
