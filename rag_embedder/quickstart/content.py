"""The quickstart's own small data: a dialogue to remember, demonstrations, conversations and requests.

All people, places of work and cases in it are invented.
"""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from rag_embedder.types import Demonstration, Turn


@dataclass(frozen=True, slots=True)
class DialogueSession:
    """One sitting of one user; sessions are named by their date, so they sort in time order."""

    user: str
    session: str
    turns: tuple[Turn, ...]


def load_dialogue() -> list[DialogueSession]:
    """Sessions of two users whose facts conflict, each user's in time order."""
    return [DialogueSession(row["user"], row["session"], tuple(_turns(row["turns"]))) for row in _read("dialogue.json")]


def load_demonstrations() -> list[Demonstration]:
    """Worked examples of five tasks, grouped by task."""
    return [Demonstration(row["input"], row["output"], row["task"]) for row in _read("demonstrations.json")]


def load_conversations() -> list[list[Turn]]:
    """Dialogues of five turns whose last question needs the turns before it."""
    return [_turns(rows) for rows in _read("conversation.json")]


def load_requests() -> dict[str, list[str]]:
    """Three requests for each of "knowledge", "memory", "demonstrations" and "tools"."""
    return _read("requests.json")


def _turns(rows: list[dict[str, str]]) -> list[Turn]:
    return [Turn(row["role"], row["content"]) for row in rows]


def _read(name: str) -> Any:  # noqa: ANN401  (each file has its own shape)
    return json.loads(resources.files("rag_embedder.quickstart").joinpath(name).read_text(encoding="utf-8"))
