"""Runs a command and turns its errors into one line and an exit code.

Exit codes: 0 done, 1 something was found wrong (doctor) or the reader of the output went away, 2 bad input or
configuration, 3 the store, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from rag_embedder.cli.commands import app
from rag_embedder.errors import RagEmbedderError, StoreError

_INTERRUPTED = 130


def main() -> None:
    """Entry point of `rag-embedder`."""
    # Set before any tokenizer exists: its own threads and a later fork would warn on every call.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # OpenMP's threads spin while they wait, which makes encoding several times slower as soon as another program wants
    # the cores too; read once, when torch is imported (docs/log.md, 5).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments, is_debug = _without_debug(sys.argv[1:])
    try:
        # Not standalone, typer returns the code of an exit, and makes one of Ctrl-C.
        code = app(arguments, standalone_mode=False)
    except RagEmbedderError as error:
        if is_debug:
            raise
        _fail(str(error), 3 if isinstance(error, StoreError) else 2)
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except Exception as error:
        # Usage errors of the option parser know how to show themselves.
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or code is None:
            raise
        show()
    if code == _INTERRUPTED:
        _fail("interrupted; what was added before is kept, run the same command to go on.", code)
    sys.exit(code or 0)


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, which may stand anywhere before "--", and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*options, *arguments[end:]], len(options) < end


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"rag-embedder: {message}\n")
    sys.exit(code)
