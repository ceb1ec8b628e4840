"""Files and folders become documents."""

from rag_embedder.reading.walk import READERS, Skipped, read_documents

__all__ = ["READERS", "Skipped", "read_documents"]
