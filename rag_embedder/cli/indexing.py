"""What the commands do with files: documents into a store, function schemas into tools."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rag_embedder.encoder import Embedder
from rag_embedder.errors import ConfigError, FilterError, InputError, StoreError
from rag_embedder.reading import Skipped, read_documents
from rag_embedder.retrievers.knowledge import KnowledgeRetriever
from rag_embedder.store import Store
from rag_embedder.types import Document

_BATCH = 256
"""Documents that are encoded and committed together: what an interruption can cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What one run of `index` did."""

    store: Path
    added: int
    updated: int
    unchanged: int
    removed: int
    documents: int
    truncated: int
    skipped: tuple[Skipped, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `skipped` as a list of path, line and reason."""
        return {
            "store": str(self.store),
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "documents": self.documents,
            "truncated": self.truncated,
            "skipped": [{"path": s.path, "line": s.line, "reason": s.reason} for s in self.skipped],
        }


def index_paths(
    embedder: Embedder, paths: Sequence[Path], *, store: Path, scenario: str, chunk_tokens: int | None, index: str
) -> IndexReport:
    """Read files into a store, in batches that are each on disk before the next is encoded."""
    skipped: list[Skipped] = []
    counts = {"added": 0, "updated": 0, "unchanged": 0}
    held: dict[str, set[str]] = {}
    with KnowledgeRetriever(
        embedder, path=store, scenario=scenario, chunk_tokens=chunk_tokens, index=index
    ) as knowledge:
        documents = read_documents(paths, on_skip=skipped.append)
        with tqdm(desc="indexing", unit=" documents", disable=None) as bar:
            for batch in _batches(documents):
                report = knowledge.update(batch, show_progress=False)
                counts["added"] += len(report.added)
                counts["updated"] += len(report.updated)
                counts["unchanged"] += len(report.unchanged)
                for document in batch:
                    held.setdefault(document.metadata["source"], set()).add(str(document.id))
                bar.update(len(batch))
        removed = _remove_stale(knowledge, held, skipped)
        return IndexReport(
            store=store,
            removed=removed,
            documents=len(knowledge),
            truncated=embedder.num_truncated,
            skipped=tuple(skipped),
            **counts,
        )


def scenario_of(store: Path, wanted: str | None) -> str:
    """The scenario to search a store with: the wanted one, or the one it was indexed for.

    Raises:
        StoreError: if there is no store, or it holds no documents.
    """
    require_store(store)
    with Store.open(store) as opened:
        spaces = opened.spaces()
    scenarios = [space.scenario for space in spaces if space.kind == "passage"]
    if not scenarios:
        kinds = ", ".join(sorted({f"{space.kind}s" for space in spaces})) or "nothing"
        raise StoreError(f"{store} holds {kinds}; expected documents. Add some with: rag-embedder index PATH")
    return wanted or scenarios[0]


def require_store(store: Path) -> None:
    """Raise StoreError unless there is a store: looking must not create one."""
    if not (store / "STORE").exists():
        raise StoreError(f"no store at {store}; make one with: rag-embedder index PATH --store {store}")


def parse_filter(text: str | None) -> dict[str, Any] | None:
    """A metadata filter from the command line."""
    if text is None:
        return None
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise FilterError(f"--filter is not JSON: {error}. Expected something like '{{\"year\": 2020}}'.") from error
    if not isinstance(parsed, dict):
        raise FilterError(f"--filter: got a JSON {type(parsed).__name__}; expected an object.")
    return parsed


def read_tools(paths: Sequence[Path]) -> list[Any]:
    """Function schemas of .json files (a list, an object with "tools", or one schema) and .jsonl files.

    Raises:
        InputError: if a file cannot be read, naming file and line.
    """
    return [schema for path in paths for schema in _schemas(path)]


def _schemas(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        content = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read tools from {path}: {error}. Expected JSON function schemas.") from error
    if isinstance(content, dict):
        content = content.get("tools", [content])
    if not isinstance(content, list):
        raise ConfigError(f"{path} holds a JSON {type(content).__name__}; expected a list of function schemas.")
    return content


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while batch := list(islice(documents, _BATCH)):
        yield batch


def _remove_stale(knowledge: KnowledgeRetriever, held: dict[str, set[str]], skipped: Sequence[Skipped]) -> int:
    # A file with unreadable rows keeps what it gave before: bad input must not cost anything.
    whole = set(held) - {skip.path for skip in skipped}
    stale = [
        id_
        for id_, metadata in knowledge.iter_metadata()
        if metadata.get("source") in whole and id_ not in held[metadata["source"]]
    ]
    return knowledge.delete(stale)
