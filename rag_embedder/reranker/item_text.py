"""The text a reranker reads of what the retrievers find: what the encoder was given, without instruction."""

from rag_embedder.errors import InvalidTextError
from rag_embedder.retrievers.memory import exchange_text
from rag_embedder.retrievers.passages import passage_text
from rag_embedder.tool_schema import tool_text
from rag_embedder.types import Chunk, Demonstration, Document, Exchange, Tool


def item_text(item: object, *, field: str) -> str:
    """Title and text of a passage, the turns of an exchange, input and output of a demonstration, a tool's description.

    Raises:
        InvalidTextError: for anything else but a string, naming `field`.
    """
    match item:
        case str():
            return item
        case Document() | Chunk():
            return passage_text({"title": item.title, "text": item.text})
        case Exchange():
            return exchange_text({"turns": [(turn.role, turn.content) for turn in item.turns]})
        case Demonstration():
            return item.text
        case Tool():
            return tool_text(item)
    raise InvalidTextError(f"{field}: got {type(item).__name__}; expected a hit, a document, a tool or a str.")
