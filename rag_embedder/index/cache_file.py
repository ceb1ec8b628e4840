"""One checksummed file of arrays with a manifest: old or new after a crash, never a mixture, never believed unread."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rag_embedder.errors import StoreError
from rag_embedder.index.file_lock import FileLock
from rag_embedder.index.place import IndexPlace
from rag_embedder.store.faults import from_os
from rag_embedder.store.folder import sync_folder, write_whole

_LOG = logging.getLogger(__name__)
_MANIFEST = "manifest.json"
_LOCK = "lock"
Arrays = dict[str, NDArray[np.generic]]


class CacheFile:
    """The cache of one space: `FOLDER/manifest.json` names the data file and says what it must be."""

    def __init__(self, folder: Path, place: IndexPlace) -> None:
        self._folder = folder
        self._place = place

    def write(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Replace the cache. Another process that is writing it now keeps its turn: this call then does nothing.

        `arrays` must have been taken before the call: the generation is raised afterwards, so a truth restored from
        a copy that carries this generation already has all rows of the cache.

        Raises:
            StoreFullError: if the disk is full; the old cache and the truth are untouched.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock.take(self._folder / _LOCK)
            if lock is None:
                _LOG.info("another process is writing the index cache in %s; skipped", self._folder)
                return
            try:
                self._write(arrays)
            finally:
                lock.release()
        except OSError as fault:
            raise from_os(fault, str(self._folder)) from fault

    def _write(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        generation = self._place.bump()
        data = self._folder / f"generation-{generation:06d}.safetensors"
        try:
            try:
                save_file(dict(arrays), data)
            except SafetensorError as fault:  # it wraps the system's error and drops its number
                raise OSError(28, "cannot write the index cache", str(data)) from fault
            _sync(data)
            sync_folder(self._folder)
            manifest = {
                **self._place.identity(generation),
                "file": data.name,
                "size": data.stat().st_size,
                "sha256": _sha256(data),
            }
            write_whole(self._folder / _MANIFEST, json.dumps(manifest, indent=1).encode())
        except OSError:
            data.unlink(missing_ok=True)
            raise
        for other in self._folder.iterdir():
            if other.name not in (data.name, _MANIFEST, _LOCK):  # older generations, and what killed writers left
                other.unlink(missing_ok=True)

    def read(self) -> Arrays | None:
        """The arrays, or None if there is no cache that can be believed; a bad one is logged."""
        if not (self._folder / _MANIFEST).exists():
            return None
        try:
            return self._read()
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as fault:
            if isinstance(fault, StoreError):
                raise
            _LOG.warning("the index cache in %s is not usable and is built again: %s", self._folder, fault)
            return None

    def _read(self) -> Arrays:
        manifest = json.loads((self._folder / _MANIFEST).read_text(encoding="utf-8"))
        for key, expected in self._place.identity(self._place.generation()).items():
            if manifest[key] != expected:
                raise ValueError(f"{key} is {manifest[key]!r} instead of {expected!r}")
        name = manifest["file"]
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError("the manifest names a file outside of the cache")
        data = self._folder / name
        if data.stat().st_size != manifest["size"]:
            raise ValueError(f"{name} has {data.stat().st_size} bytes instead of {manifest['size']}")
        if _sha256(data) != manifest["sha256"]:
            raise ValueError(f"{name} does not match its checksum")
        return load_file(data)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
