"""LangChain's documents and ours."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.documents import Document as LangChainDocument

from integrations.hit_fields import metadata_of, text_of
from rag_embedder.errors import InvalidTextError
from rag_embedder.types import Document, Hit


def to_documents(documents: Iterable[LangChainDocument], *, title_key: str | None = None) -> list[Document]:
    """LangChain documents as ours, in their order, ids and metadata kept; the originals are not changed.

    Args:
        documents: what a loader or text splitter gave.
        title_key: the metadata key whose text is encoded before the content; metadata is never encoded otherwise.

    Raises:
        InvalidTextError: for something that is no LangChain document, with its position.
    """
    if isinstance(documents, str | bytes | LangChainDocument) or not isinstance(documents, Iterable):
        raise InvalidTextError(
            f"documents: got a bare {type(documents).__name__}; expected a list of LangChain Documents. Wrap it in a "
            "list: [document]."
        )
    return [_to_document(document, position, title_key) for position, document in enumerate(documents)]


def _to_document(document: object, position: int, title_key: str | None) -> Document:
    if not isinstance(document, LangChainDocument):
        kind = type(document)  # with its module: ours has the same name
        raise InvalidTextError(
            f"documents[{position}]: got {kind.__module__}.{kind.__qualname__}; expected a Document of langchain_core, "
            "such as Document(page_content=text)."
        )
    title = "" if title_key is None else document.metadata.get(title_key) or ""
    return Document(text=document.page_content, id=document.id, title=title, metadata=copy.deepcopy(document.metadata))


def from_hits(hits: Sequence[Hit[Any]], *, score_key: str = "score") -> list[LangChainDocument]:
    """Hits of any of our retrievers as new LangChain documents, best first: id, text, and metadata with the score."""
    return [
        LangChainDocument(id=hit.id, page_content=text_of(hit), metadata=metadata_of(hit, score_key=score_key))
        for hit in hits
    ]
