"""Building and writing transformers models: one at a time, because that changes global state; and without talk."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No other thread builds a model meanwhile; no bars, and no warnings of what callers refuse or ask for.

    transformers changes torch's initialisers and its own logging while it builds a model.
    """
    with _ONE_AT_A_TIME:
        had_bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
            if had_bars:
                transformers_logging.enable_progress_bar()
