"""Which tools a thread has been shown, kept in the agent's state: a checkpointer saves it, and threads never mix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from langchain.agents.middleware import AgentState
from langchain.agents.middleware.types import PrivateStateAttr

Stickiness = Literal["none", "turn", "thread"]
STICKINESS = ("none", "turn", "thread")

STATE_KEY = "rag_tool_selection"


def _merged(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    return {**(old or {}), **(new or {})}


class ToolSelectionState(AgentState[Any]):
    """The agent's state with what each tool selector, by its name, has shown. Neither input nor output of the agent."""

    rag_tool_selection: NotRequired[Annotated[dict[str, Any], PrivateStateAttr, _merged]]


@dataclass(frozen=True, slots=True)
class Shown:
    """Names of the tools chosen for a thread, oldest first, and the user's turn they were last chosen for."""

    turn: str | None
    names: tuple[str, ...]

    def followed_by(self, turn: str | None, chosen: Sequence[str], max_shown: int | None) -> "Shown":
        """With the tools of a new turn after those shown before, or these alone where that would be too many."""
        names = tuple(dict.fromkeys([*self.names, *chosen]))
        if max_shown is not None and len(names) > max_shown:
            names = tuple(chosen)
        return Shown(turn, names)


def read_shown(state: Any, middleware: str) -> Shown | None:  # noqa: ANN401  (any agent's state)
    """What one middleware has noted in this thread; None at first."""
    noted = state.get(STATE_KEY) if isinstance(state, Mapping) else getattr(state, STATE_KEY, None)
    found = (noted or {}).get(middleware)
    return None if found is None else Shown(found["turn"], tuple(found["names"]))


def write_shown(middleware: str, shown: Shown) -> dict[str, Any]:
    """The update of the state, made of JSON values so that every checkpointer can keep it."""
    return {STATE_KEY: {middleware: {"turn": shown.turn, "names": list(shown.names)}}}
