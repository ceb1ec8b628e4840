"""What to try after the quickstart: commands that run as they are printed."""

import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape


def print_next_steps(folder: Path, model: str | None) -> None:
    """One command per line, for the stores under `folder` that `model` (None: the shipped encoder) filled."""
    console = Console()
    console.rule("[bold]next", align="left")
    for command in next_steps(folder, model):
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)


def next_steps(folder: Path, model: str | None) -> list[str]:
    """The commands, quoted for a shell."""
    program = running_program()
    # a store belongs to one model: with another one, these commands would be refused
    chosen = [] if model is None else ["--model", model]
    knowledge, tools = str(folder / "knowledge"), str(folder / "tools")
    commands = (
        ["search", "parse dates from text", "--store", knowledge, "--mode", "hybrid", *chosen],
        ["tools", "compress a folder into one file", "--store", tools, "--mode", "hybrid", *chosen],
        ["preview", "book a flight", "--scenario", "tool", *chosen],
        ["index", "YOUR_FOLDER", *chosen],
        ["search", "YOUR QUESTION", *chosen],
        ["doctor", *chosen],
    )
    return [shlex.join([program, *command]) for command in commands]


def running_program() -> str:
    """What to type for this program: its name if a shell finds it, else its path, relative if below this folder."""
    name = "rag-embedder"
    if shutil.which(name) or not Path(sys.argv[0]).is_file():
        return name
    path = Path(sys.argv[0]).absolute()
    here = Path.cwd()
    if not path.is_relative_to(here):
        return str(path)
    # without a slash, a shell would look for it elsewhere
    relative = str(path.relative_to(here))
    return relative if "/" in relative else f"./{relative}"
