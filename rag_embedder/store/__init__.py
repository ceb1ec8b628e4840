"""The durable truth: items, their vectors and a feed of changes, in one SQLite file."""

from rag_embedder.store.records import START, Changes, NewEntry, NewPart, Position, SpaceInfo, StoredItem
from rag_embedder.store.sqlite import Store

__all__ = ["START", "Changes", "NewEntry", "NewPart", "Position", "SpaceInfo", "Store", "StoredItem"]
