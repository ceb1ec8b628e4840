"""What any hit of ours is for a framework: one text and flat metadata."""

from collections.abc import Mapping
from typing import Any

from rag_embedder.types import Chunk, Demonstration, Document, Exchange, Hit, Tool


def text_of(hit: Hit[Any]) -> str:
    """The text of a hit: what was stored, or a tool's name and description."""
    item = hit.item
    if isinstance(item, Tool):
        return f"{item.name}: {item.description}" if item.description else item.name
    return item.text


def metadata_of(hit: Hit[Any], score_key: str | None = "score") -> dict[str, Any]:
    """A new dict: the item's own metadata, what its kind adds, and the score (not with None).

    Ours win where names collide.
    """
    score = {} if score_key is None else {score_key: hit.score}
    return {**dict(getattr(hit.item, "metadata", {})), **_fields_of(hit.item), **score}


def _fields_of(item: object) -> Mapping[str, Any]:
    if isinstance(item, Document):
        return {"title": item.title} if item.title else {}
    if isinstance(item, Chunk):
        fields = {"document_id": item.document_id, "start": item.start, "end": item.end}
        optional = {"title": item.title, "continuation": item.continuation}
        return fields | {name: value for name, value in optional.items() if value}
    if isinstance(item, Exchange):
        return {"user": item.user, "session": item.session, "position": item.position}
    if isinstance(item, Demonstration):
        return {"input": item.input, "output": item.output, "task": item.task}
    if isinstance(item, Tool):
        return {"name": item.name}
    return {}
