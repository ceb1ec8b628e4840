"""Runs a command and turns its errors into one line and an exit code.

Exit codes: 0 done, 1 something was found wrong (doctor) or the reader of the output went away, 2 bad input or
configuration, 3 the store, 130 interrupted.
"""

import os
import sys

import typer

from rag_embedder.cli.commands import app
from rag_embedder.errors import RagEmbedderError, StoreError


def main() -> None:
    """Entry point of `rag-embedder`."""
    # Set before any tokenizer exists: its own threads and a later fork would warn on every call.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    is_debug = "--debug" in sys.argv
    try:
        app(standalone_mode=False)
    except RagEmbedderError as error:
        if is_debug:
            raise
        _fail(str(error), 3 if isinstance(error, StoreError) else 2)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted; what was reported as added is kept, run the same command to go on.", 130)
    except Exception as error:
        # Usage errors of the option parser know how to show themselves.
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or code is None:
            raise
        show()
        sys.exit(code)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"rag-embedder: {message}\n")
    sys.exit(code)
