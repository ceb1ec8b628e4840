"""How the stages' programs end."""

from typing import NoReturn

import typer

from rag_embedder.cli.ending import run_program
from trainer.errors import NonFiniteError


def run_command(app: typer.Typer, stage: str, *, interrupted: str) -> NoReturn:
    """Run `python -m trainer.STAGE`; exit codes: 0, 1 (a loss is no number), 2 (bad input), 130 (interrupted)."""
    run_program(
        app,
        name=f"trainer.{stage}",
        interrupted=interrupted,
        code_of=lambda error: 1 if isinstance(error, NonFiniteError) else 2,
    )
