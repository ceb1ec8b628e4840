"""SQLite's errors in the words of our exception tree."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from rag_embedder.errors import (
    InputError,
    InvalidTextError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
)

_NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
# A write that fails below SQLite is nearly always a full disk, a quota or a file size limit; SQLite keeps no errno.
_WRITE_FAULTS = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
}
_READ_FAULTS = {sqlite3.SQLITE_IOERR_SHORT_READ}


def _full(where: str) -> StoreFullError:
    return StoreFullError(
        f"no space left for the store at {where}. Nothing was added. Free disk space and call again; "
        "the store stays usable.",
        path=where,
    )


def _read_only(where: str) -> StoreReadOnlyError:
    return StoreReadOnlyError(
        f"the store at {where} cannot be written: no permission, or a read-only file system. "
        "Give this user write access to the folder, or copy the store to a writable place.",
        path=where,
    )


def locked(where: str) -> StoreLockedError:
    """The error for a writer that waited longer than the lock timeout."""
    return StoreLockedError(
        f"the store at {where} was being written by another process for longer than the lock timeout. "
        "Nothing was changed; call again, or open the store with a larger lock_timeout.",
        path=where,
    )


def corrupt(where: str, what: str) -> StoreCorruptError:
    """The error for bytes that cannot be trusted; `what` names the file, table or row."""
    return StoreCorruptError(
        f"the store at {where} is damaged: {what}. Run verify() for a full list and restore the store from a backup.",
        path=where,
    )


def _from_code(fault: sqlite3.Error, where: str) -> Exception:
    code = getattr(fault, "sqlite_errorcode", 0) or 0
    primary = code & 0xFF
    if code in _WRITE_FAULTS or primary == sqlite3.SQLITE_FULL:
        return _full(where)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return locked(where)
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return _read_only(where)
    if code in _READ_FAULTS or primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return corrupt(where, f"truth.db cannot be read ({fault})")
    if primary == sqlite3.SQLITE_TOOBIG:
        return InputError("one value is larger than SQLite can hold (1 GB). Nothing was added. Split the entry.")
    if primary == sqlite3.SQLITE_NOMEM:
        return MemoryError("SQLite ran out of memory. Nothing was added.")
    return _from_message(fault, where)


def _from_message(fault: sqlite3.Error, where: str) -> Exception:
    message = str(fault)
    if "closed database" in message:
        return StoreClosedError(f"the store at {where} was closed during the call; open it again.", path=where)
    if "decode to UTF-8" in message:  # the message would quote the stored text
        return corrupt(where, "truth.db has text that is not UTF-8")
    if "no such table" in message or "no such column" in message:
        return corrupt(where, f"truth.db lacks a part of its schema ({message})")
    return StoreError(f"SQLite failed on the store at {where}: {message}. Nothing was changed.", path=where)


def from_os(fault: OSError, where: str) -> StoreError:
    """The error for a file operation of ours that failed."""
    if fault.errno in _NO_SPACE:
        return _full(where)
    if fault.errno in _NO_PERMISSION:
        return _read_only(where)
    return StoreError(f"a file of the store at {where} cannot be used: {fault.strerror or fault}.", path=where)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise our errors in place of SQLite's and the operating system's; `where` is the path shown."""
    try:
        yield
    except sqlite3.Error as fault:
        raise _from_code(fault, where) from fault
    except UnicodeEncodeError:
        raise InvalidTextError(
            "a text holds half of a surrogate pair and cannot be stored. Nothing was added. "
            "Decode the source with errors='replace'."
        ) from None
    except OSError as fault:
        raise from_os(fault, where) from fault
