"""The folder of an embedded Chroma: used by one process, and believed only after a clean close.

Chroma rewrites its files in place, so a kill can leave any mixture of old and new, and some mixtures crash the
process that reads them. Its files are therefore only opened if they match the checksums taken at the last close.
"""

import hashlib
import json
import logging
import shutil
from pathlib import Path

from rag_embedder.errors import ConfigError, StoreLockedError
from rag_embedder.index.file_lock import FileLock
from rag_embedder.index.place import IndexPlace
from rag_embedder.store.faults import translated
from rag_embedder.store.folder import sync_folder, write_whole

_LOG = logging.getLogger(__name__)
_CLEAN = "clean.json"


class ChromaFolder:
    """`FOLDER/data` is Chroma's, `FOLDER/clean.json` says what it held when it was last closed.

    Raises:
        StoreLockedError: if another handle has the folder open.
    """

    def __init__(self, place: IndexPlace) -> None:
        if place.folder is None:
            raise ConfigError("a Chroma folder needs a store on disk.")
        folder = self._folder = place.folder / f"chroma-{place.space}"
        self._place = place
        self.data = folder / "data"
        with translated(str(folder)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock.take(folder / "lock")
            if lock is None:
                raise StoreLockedError(
                    f"the Chroma folder {folder} is open elsewhere, and embedded Chroma serves one process at a time. "
                    'Use index="faiss" or "flat" in several processes, or a Chroma server: ChromaSettings(host=...).',
                    path=str(folder),
                )
            self._lock = lock
            try:
                self._known = self._read_clean()
                if not self._is_clean():
                    self.discard()
            except BaseException:
                lock.release()
                raise

    def _read_clean(self) -> dict[str, object] | None:
        try:
            content = json.loads((self._folder / _CLEAN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _is_clean(self) -> bool:
        if not self.data.exists():
            return True
        return self._known == {**self._place.identity(self._place.generation()), "files": _checksums(self.data)}

    def discard(self) -> None:
        """Delete what Chroma has written; it is built again from the truth."""
        if self.data.exists():
            _LOG.warning("the Chroma files in %s were not closed cleanly, or changed since; built again", self._folder)
        self.mark_dirty()
        shutil.rmtree(self.data, ignore_errors=True)

    def mark_dirty(self) -> None:
        """From now on the files are not believed, until `mark_clean`. Durable before the first change."""
        self._known = None
        (self._folder / _CLEAN).unlink(missing_ok=True)
        sync_folder(self._folder)

    def mark_clean(self) -> None:
        """Chroma is closed and its files are whole; the generation is raised if they were changed by us."""
        generation = self._place.generation() if self._known is not None else self._place.bump()
        content = {**self._place.identity(generation), "files": _checksums(self.data)}
        write_whole(self._folder / _CLEAN, json.dumps(content, indent=1).encode())

    def release(self) -> None:
        """Let others open the folder."""
        self._lock.release()


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path below `folder`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
