"""Files read in one go, with what was left out."""

from pathlib import Path

from rag_embedder.reading import Skipped, read_documents
from rag_embedder.types import Document


def read(*paths: Path) -> tuple[list[Document], list[Skipped]]:
    skipped: list[Skipped] = []
    return list(read_documents(paths, on_skip=skipped.append)), skipped


def read_file(folder: Path, name: str, content: str | bytes) -> tuple[list[Document], list[Skipped]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path)
