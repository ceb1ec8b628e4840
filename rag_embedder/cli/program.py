"""The program `rag-embedder`.

Exit codes: 0 done, 1 something was found wrong (doctor) or the reader of the output went away, 2 bad input or
configuration, 3 the store, 130 interrupted.
"""

from rag_embedder.cli.commands import app
from rag_embedder.cli.ending import run_program
from rag_embedder.errors import StoreError


def main() -> None:
    """Entry point of `rag-embedder`."""
    run_program(
        app,
        name="rag-embedder",
        interrupted="what was added before is kept, run the same command to go on.",
        code_of=lambda error: 3 if isinstance(error, StoreError) else 2,
    )
