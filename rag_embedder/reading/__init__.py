"""Files and folders become documents."""

from rag_embedder.reading.walk import READERS, Cause, Skipped, file_suffix, read_documents, resolved

__all__ = ["READERS", "Cause", "Skipped", "file_suffix", "read_documents", "resolved"]
