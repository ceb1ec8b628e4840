"""The store's folder: its marker file, and what may be opened or created there."""

import json
import os
import uuid
from pathlib import Path

from rag_embedder.errors import StoreFormatError
from rag_embedder.store import schema
from rag_embedder.store.faults import corrupt

MARKER = "STORE"
TRUTH = "truth.db"
CACHE = "cache"


def prepare(folder: Path) -> str | None:
    """Make the folder fit for opening; returns the store id of its marker, None where there is no marker yet.

    Raises:
        StoreFormatError: if the path is a file, a folder with other content, or a store of a newer format.
        StoreCorruptError: if the marker says that a store existed here and its database is gone.
    """
    where = str(folder)
    if folder.exists() and not folder.is_dir():
        raise StoreFormatError(f"{where} is a file; expected a folder for the store. Give another path.", path=where)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    expected = _read_marker(folder)
    if (folder / TRUTH).exists():
        return expected
    if expected is not None:
        raise corrupt(where, f"{TRUTH} is missing although {MARKER} says that a store exists here")
    # A second process may be creating this store right now: truth.db is made first, so look at it last.
    if any(folder.iterdir()) and not (folder / TRUTH).exists():
        raise StoreFormatError(
            f"{where} is not a rag_embedder store: the folder has other content. Give a new or an empty folder.",
            path=where,
        )
    # Made here and not by SQLite for the sake of the permissions: texts and vectors are private.
    os.close(os.open(folder / TRUTH, os.O_CREAT | os.O_RDWR, 0o600))
    return None


def _read_marker(folder: Path) -> str | None:
    marker = folder / MARKER
    if not marker.exists():
        return None
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        found, store_id = content["format"], content["store_id"]
    except (ValueError, KeyError, TypeError):
        raise corrupt(str(folder), f"{MARKER} cannot be read") from None
    schema.check_format(found, str(folder))
    if not isinstance(store_id, str):
        raise corrupt(str(folder), f"{MARKER} has no store id")
    return store_id


def write_marker(folder: Path, store_id: str) -> None:
    """Write the marker; it appears whole or not at all."""
    write_whole(folder / MARKER, json.dumps({"format": schema.FORMAT, "store_id": store_id}).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file so that a crash leaves the old content or the new, never a mixture."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; a no-op where the system cannot open folders (Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
