"""The program `rag-embedder`: commands, their output, and what becomes of errors."""

from rag_embedder.cli.program import main

__all__ = ["main"]
