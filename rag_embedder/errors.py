"""The exception tree: everything the core raises on purpose derives from `RagEmbedderError`.

    RagEmbedderError
    ├─ InputError (ValueError)            a value the caller passed cannot be used
    │  ├─ InvalidTextError                a text that is not text: wrong type, lone surrogate, empty
    │  ├─ TextTruncatedError              a text longer than the model, with on_truncate="error"
    │  ├─ VectorError                     wrong dimension, NaN, infinity or zero
    │  ├─ DuplicateIdError                one id twice in one call
    │  ├─ FilterError                     a metadata filter that cannot be understood
    │  └─ UserRequiredError               a memory call without its user
    ├─ ConfigError (ValueError)           an option or registry name that does not exist
    ├─ MissingExtraError (ImportError)    an optional dependency is not installed
    ├─ ModelLoadError                     a model folder or hub id that cannot be loaded
    │  └─ UntrustedModelError             it would need pickle weights or code from the model
    └─ StoreError                         the durable store; carries `path`
       ├─ StoreLockedError                another process is writing for longer than the timeout
       ├─ StoreClosedError                used after close()
       ├─ StoreForkedError                used in a child process after fork()
       ├─ StoreReadOnlyError              no permission to write where the store lies
       ├─ StoreFullError                  no space left; nothing of the call was kept
       ├─ StoreCorruptError               bytes on disk differ from their checksum
       ├─ StoreFormatError                not a store of ours, or of a newer format
       ├─ ModelMismatchError              the store was built with another model or instruction
       └─ BackendError                    FAISS or Chroma failed; the cause is kept

Every message says what came, what was expected and what to do. Document text never appears in one; ids and sizes do.
"""


class RagEmbedderError(Exception):
    """Root of every error this project raises on purpose."""


class InputError(RagEmbedderError, ValueError):
    """A value passed by the caller cannot be used; nothing was changed."""


class InvalidTextError(InputError):
    """A text is not a string, is empty, or holds half of a surrogate pair."""


class TextTruncatedError(InputError):
    """A text is longer than the model reads and `on_truncate="error"` was asked for."""


class VectorError(InputError):
    """A vector has the wrong dimension, a non-finite component or zero length."""


class DuplicateIdError(InputError):
    """One id occurs twice in a single call."""


class FilterError(InputError):
    """A metadata filter has an unknown operator, a bad key or a value of the wrong type."""


class UserRequiredError(InputError):
    """A memory was read or written without naming its user."""


class ConfigError(RagEmbedderError, ValueError):
    """An option, scenario or registry name is unknown or out of range."""


class MissingExtraError(RagEmbedderError, ImportError):
    """An optional dependency is not installed; the message holds the pip line."""


class ModelLoadError(RagEmbedderError):
    """A model folder or hub id cannot be loaded."""


class UntrustedModelError(ModelLoadError):
    """Loading would need pickled weights or code shipped with the model."""


class StoreError(RagEmbedderError):
    """The durable store failed; `path` says which one."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class StoreLockedError(StoreError):
    """Another process kept writing for longer than the lock timeout; try again later."""


class StoreClosedError(StoreError):
    """The store was used after `close()`."""


class StoreForkedError(StoreError):
    """The store was opened before `fork()` and used in the child; open it again there."""


class StoreReadOnlyError(StoreError):
    """The store's folder or file system does not permit writing."""


class StoreFullError(StoreError):
    """The disk is full; nothing of the failed call was kept and the store stays usable."""


class StoreCorruptError(StoreError):
    """Bytes on disk do not match their checksum, or a file of the store is missing."""


class StoreFormatError(StoreError):
    """The path is not one of our stores, or was written by a newer version."""


class ModelMismatchError(StoreError):
    """The store's vectors came from another model, or from other instructions."""


class BackendError(StoreError):
    """An index back-end (FAISS, Chroma) failed; `__cause__` holds its own error."""
