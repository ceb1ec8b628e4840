"""One loaded model for all adapters of a process that name the same one."""

import threading
from pathlib import Path
from weakref import WeakValueDictionary

from rag_embedder import Embedder

_LOCK = threading.Lock()
_LOADED: "WeakValueDictionary[tuple[str | None, str, str, str | None], Embedder]" = WeakValueDictionary()


def load_shared(
    model: str | Path | None = None, *, device: str = "auto", dtype: str = "auto", instructions: str | None = None
) -> Embedder:
    """The `Embedder` for these settings: one that an adapter still holds, or else loaded now.

    A hundred tools or six scenarios then cost one model. Errors are those of `Embedder.load`.
    """
    key = (None if model is None else str(model), device, dtype, instructions)
    with _LOCK:
        embedder = _LOADED.get(key)
        if embedder is None:
            embedder = Embedder.load(model, device=device, dtype=dtype, instructions=instructions)
            _LOADED[key] = embedder
        return embedder
