"""Folders that are there whole or not at all, and never in the place of something else."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_embedder.errors import ConfigError


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` to write into, moved into place at the end: a kill leaves the old state or the new one.

    Raises:
        ConfigError: if `target` exists and is not an empty folder.
    """
    _check_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        _move(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _check_free(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"{target} already exists and is not an empty folder; expected a new path. Nothing was written."
        )


def _move(temporary: Path, target: Path) -> None:
    if target.exists():
        _check_free(target)
        target.rmdir()
    try:
        os.replace(temporary, target)
    except OSError:
        _check_free(target)  # another save to the same place was faster
        raise
