"""How a program ends: an error is one line on standard error, and every ending has its exit code."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import typer

from rag_embedder.errors import RagEmbedderError

_INTERRUPTED = 130


def run_program(
    app: typer.Typer,
    *,
    name: str,
    interrupted: str,
    code_of: Callable[[RagEmbedderError], int] = lambda _: 2,
) -> NoReturn:
    """Run a program with the arguments of the process, and leave it.

    Exit codes: 0 done, or what the command says; `code_of(error)` for an error of ours; 130 interrupted. `--debug`,
    anywhere before "--", shows the traceback of an error instead of its one line. `interrupted` says what is kept.
    """
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
        _fail(name, str(error), code_of(error))
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except Exception as error:
        # Usage errors of the option parser know how to show themselves.
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or code is None:
            raise
        show()
    if code == _INTERRUPTED:
        _fail(name, f"interrupted; {interrupted}", code)
    sys.exit(code or 0)


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, which may stand anywhere before "--", and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*options, *arguments[end:]], len(options) < end


def _fail(name: str, message: str, code: int) -> NoReturn:
    sys.stderr.write(f"{name}: {message}\n")
    sys.exit(code)
