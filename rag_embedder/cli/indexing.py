"""Files into a store: what is new, changed, gone, or belongs to another file."""

import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rag_embedder.encoder import Embedder
from rag_embedder.index import resolve_index
from rag_embedder.reading import Cause, Skipped, read_documents, resolved
from rag_embedder.registry import unknown_name
from rag_embedder.retrievers.knowledge import KnowledgeRetriever
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
    """Read files into a store, in batches that are each on disk before the next is encoded.

    Raises:
        ConfigError: for an unknown scenario or back-end; no store is created then.
    """
    if scenario not in embedder.scenarios:
        raise unknown_name("scenario", scenario, list(embedder.scenarios))
    resolve_index(index)
    with KnowledgeRetriever(
        embedder, path=store, scenario=scenario, chunk_tokens=chunk_tokens, index=index
    ) as knowledge:
        run = _Run(knowledge)
        with tqdm(desc="indexing", unit=" documents", disable=None) as bar:
            run.index(paths, bar)
        return IndexReport(
            store=store,
            added=run.counts["added"],
            updated=run.counts["updated"],
            unchanged=run.counts["unchanged"],
            removed=run.counts["removed"],
            documents=len(knowledge),
            truncated=embedder.num_truncated,
            skipped=tuple(run.skipped),
        )


class _Run:
    """One run over some paths; knows from which file every stored document came."""

    def __init__(self, knowledge: KnowledgeRetriever) -> None:
        self._knowledge = knowledge
        # interned: thousands of documents may come from one file
        self._sources: dict[str, str] = {
            id_: sys.intern(metadata["source"])
            for id_, metadata in knowledge.iter_metadata()
            if isinstance(metadata.get("source"), str)
        }
        self._held: dict[str, set[str]] = {}
        self._refused: dict[str, set[str]] = {}
        self.skipped: list[Skipped] = []
        self.counts: Counter[str] = Counter()

    def index(self, paths: Sequence[Path], bar: tqdm) -> None:
        """Add what the files hold, then remove what they no longer hold."""
        self._add(read_documents(paths, on_skip=self.skipped.append, refuse=self._refusal), bar)
        freed = self._remove([*self._stale(), *self._gone([resolved(path) for path in paths])])
        # A row that moved from one file to another was refused as long as the first had it.
        again = {file for id_ in freed & self._refused.keys() for file in self._refused[id_]}
        self.skipped = [skip for skip in self.skipped if str(resolved(skip.path)) not in again]
        documents = read_documents(sorted(again), on_skip=self.skipped.append, refuse=self._refusal)
        self._add((document for document in documents if document.id in freed), bar)

    def _add(self, documents: Iterator[Document], bar: tqdm) -> None:
        while batch := list(islice(documents, _BATCH)):
            report = self._knowledge.update(batch, show_progress=False)
            self.counts.update(added=len(report.added), updated=len(report.updated), unchanged=len(report.unchanged))
            for document in batch:
                source = sys.intern(document.metadata["source"])
                self._sources[str(document.id)] = source
                self._held.setdefault(source, set()).add(str(document.id))
            bar.update(len(batch))

    def _refusal(self, document: Document) -> str:
        """Why a document may not replace the one with its id, or "": two files must not take it from each other."""
        id_, source = str(document.id), str(document.metadata["source"])
        owner = self._sources.get(id_, source)
        if owner == source or not Path(owner).is_absolute() or _is_gone(owner):
            return ""
        self._refused.setdefault(id_, set()).add(source)
        return f"id {id_!r} belongs to {owner}; expected one file per id: rename one of them"

    def _stale(self) -> Iterator[str]:
        """Documents that their files, read to the end, no longer hold."""
        # A file with unreadable rows keeps what it gave before: bad input must not cost anything.
        whole = (self._held.keys() | self._skipped_files("repeat")) - self._skipped_files("fault")
        return (id_ for id_, file in self._sources.items() if file in whole and id_ not in self._held.get(file, ()))

    def _skipped_files(self, cause: Cause) -> set[str]:
        return {str(resolved(skip.path)) for skip in self.skipped if skip.cause == cause}

    def _gone(self, roots: Sequence[Path]) -> Iterator[str]:
        """Documents whose files lay below `roots`, and are no more or are empty."""
        below = set(roots)
        files = set(self._sources.values())
        gone = {file for file in files if not below.isdisjoint([Path(file), *Path(file).parents]) and _is_gone(file)}
        return (id_ for id_, file in self._sources.items() if file in gone)

    def _remove(self, ids: Iterable[str]) -> set[str]:
        removed = set(ids)
        self.counts["removed"] += self._knowledge.delete(sorted(removed))
        for id_ in removed:
            del self._sources[id_]
        return removed


def _is_gone(file: str) -> bool:
    """Whether there is no such file any more, or nothing in it; one that cannot be looked at is not gone."""
    try:
        found = Path(file).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_size == 0
