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


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and what should be found: ids of items, or the task of demonstrations."""

    text: str
    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue whose last turn is the question, and the ids of what should be found."""

    turns: tuple[Turn, ...]
    wanted: tuple[str, ...]


def load_dialogue() -> list[DialogueSession]:
    """Sessions of two users whose facts conflict, each user's in time order."""
    return [DialogueSession(row["user"], row["session"], tuple(_turns(row["turns"]))) for row in _read("dialogue.json")]


def load_demonstrations() -> list[Demonstration]:
    """Worked examples of five tasks, grouped by task."""
    return [Demonstration(row["input"], row["output"], row["task"]) for row in _read("demonstrations.json")]


def load_conversations() -> list[Conversation]:
    """Dialogues of five turns whose last question needs the turns before it."""
    return [Conversation(tuple(_turns(row["turns"])), tuple(row["wanted"])) for row in _read("conversation.json")]


def load_requests() -> dict[str, list[Request]]:
    """Three requests for each of "knowledge", "memory", "demonstrations" and "tools"."""
    return {
        scenario: [Request(row["text"], tuple(row["wanted"])) for row in rows]
        for scenario, rows in _read("requests.json").items()
    }


def _turns(rows: list[dict[str, str]]) -> list[Turn]:
    return [Turn(row["role"], row["content"]) for row in rows]


def _read(name: str) -> Any:  # noqa: ANN401  (each file has its own shape)
    return json.loads(resources.files("rag_embedder.quickstart").joinpath(name).read_text(encoding="utf-8"))
