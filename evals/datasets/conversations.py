"""Conversations in full, with their sessions and the windows they are cut into."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evals.datasets.beir import read_turn
from evals.datasets.validation import Reading, Row
from rag_embedder.types import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One conversation, oldest turn first.

    `sessions` gives each turn's session, a number that never falls; `dates` the day of some sessions, as in the
    source. `windows` are the (first turn, last turn + 1) it is cut into, none of which spans two sessions.
    """

    id: str
    turns: Sequence[Turn]
    sessions: Sequence[int]
    windows: Sequence[tuple[int, int]] = ()
    dates: dict[int, str] = field(default_factory=dict)


def read_conversations(folder: Path, split: str, *, name: str | None = None) -> list[Conversation]:
    """The conversations of `documents.<split>.jsonl.gz`: `_id`, `turns` of {"role", "content", "session"}, `windows`.

    Raises:
        DataSetError: with all that is wrong with the file.
    """
    reading = Reading(f"{folder.name if name is None else name}.{split}")
    file = find_documents(reading, folder, split)
    reading.raise_problems()
    conversations = list(conversations_in(reading, file).values())
    if not conversations:
        reading.problem("no conversation", file)
    reading.raise_problems()
    return conversations


def find_documents(reading: Reading, folder: Path, split: str) -> Path:
    """The file of one split's conversations or texts."""
    return reading.find(
        folder, [f"documents.{split}.jsonl.gz", f"documents.{split}.jsonl"], what=f"documents of split {split!r}"
    )


def conversations_in(reading: Reading, file: Path, *, roles: Sequence[str] = ()) -> dict[str, Conversation]:
    """The conversations of a file by id, in order; roles must be among `roles`, if there are any."""
    conversations: dict[str, Conversation] = {}
    for row in reading.rows(file):
        id_ = row.new_id(conversations)
        raw = row.items("turns")
        conversations[id_] = Conversation(
            id=id_,
            turns=tuple(read_turn(row, turn, roles=roles) for turn in raw),
            sessions=_sessions(row, raw),
            windows=_windows(row, len(raw)),
            dates=_dates(row),
        )
    return conversations


def _sessions(row: Row, raw: Sequence[object]) -> tuple[int, ...]:
    sessions = [turn.get("session", 0) if isinstance(turn, dict) else 0 for turn in raw]
    if not all(isinstance(session, int) for session in sessions):
        row.problem("a turn's session is no integer")
        return ()
    if sessions != sorted(sessions):
        row.problem("the turns' sessions are not in order")
    return tuple(sessions)


def _windows(row: Row, num_turns: int) -> tuple[tuple[int, int], ...]:
    windows = row.items("windows", [])
    for position, window in enumerate(windows):
        is_pair = isinstance(window, list) and len(window) == 2 and all(isinstance(bound, int) for bound in window)
        if not is_pair or not 0 <= window[0] < window[1] <= num_turns:
            row.problem(f"windows[{position}] is no [first turn, last turn + 1] of {num_turns} turns")
            return ()
    return tuple((first, stop) for first, stop in windows)


def _dates(row: Row) -> dict[int, str]:
    dates = row.value.get("session_dates") or {}
    try:
        return {int(session): str(date) for session, date in dates.items()}
    except (AttributeError, ValueError):
        row.problem("'session_dates' is no object from session numbers to dates")
        return {}
