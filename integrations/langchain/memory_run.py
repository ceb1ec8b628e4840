"""One run of an agent as its memory sees it: what the user said, what was answered, and what an earlier run left."""

from collections.abc import Sequence
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import AgentState
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from typing_extensions import TypedDict

from rag_embedder import Turn


class Asked(TypedDict):
    """A message of the user."""

    id: str | None
    text: str


class MemoryRun(TypedDict):
    """One run: noted where it begins, since a long one may summarise its own question away."""

    user: str
    session: str
    recalled: str
    """The memories for the prompt, the same for every model call of the run; empty if there are none."""
    asked: list[Asked]
    """What the user said to begin this run, until it is remembered."""
    after: str | None
    """Id of the last answer that was there before, or that is remembered."""
    is_over: bool
    """Whether nothing of it is left to be remembered."""


def _merge(old: dict[str, MemoryRun], new: dict[str, MemoryRun]) -> dict[str, MemoryRun]:
    return {**old, **new}


class MemoryState(AgentState[Any]):
    """The agent's state with the current run of each memory middleware, by its name; neither input nor output."""

    rag_memory: NotRequired[Annotated[dict[str, MemoryRun], PrivateStateAttr, _merge]]


def begun_run(messages: Sequence[AnyMessage], earlier: MemoryRun | None, *, user: str, session: str) -> MemoryRun:
    """A run that begins with these messages; `earlier` is the one before in the same thread, if it is known."""
    answered = _last_answer(messages, only_finished=earlier is None)
    noted = set() if earlier is None else {asked["id"] for asked in earlier["asked"]} - {None}
    asked = [
        Asked(id=message.id, text=text)
        for message in messages[answered + 1 :]
        if isinstance(message, HumanMessage) and message.id not in noted and (text := said_in(message))
    ]
    after = messages[answered].id if answered >= 0 else None
    return MemoryRun(user=user, session=session, recalled="", asked=asked, after=after, is_over=False)


def turns_of_run(run: MemoryRun, messages: Sequence[AnyMessage]) -> list[Turn]:
    """What is left to be remembered of a run, in order: the user's words and the agent's, no calls of tools."""
    before = next((n for n, message in enumerate(messages) if run["after"] and message.id == run["after"]), -1)
    present = {message.id for message in messages} - {None}
    if run["is_over"] and any(isinstance(message, HumanMessage) for message in messages[before + 1 :]):
        return []  # another run, which was ended before this memory saw it begin
    texts = {asked["id"]: asked["text"] for asked in run["asked"]}
    turns = [Turn("user", asked["text"]) for asked in run["asked"] if asked["id"] not in present]
    for position, message in enumerate(messages):
        if message.id in present and message.id in texts:
            turns.append(Turn("user", texts[message.id]))
        elif position > before and isinstance(message, AIMessage) and (text := said_in(message)):
            turns.append(Turn("assistant", text))
    return turns


def turns_left(earlier: MemoryRun | None, run: MemoryRun, messages: Sequence[AnyMessage]) -> list[Turn]:
    """What an earlier run that broke off left to be remembered; nothing if the new run only asks the same again."""
    if earlier is None or earlier["is_over"]:
        return []
    again = {asked["text"] for asked in run["asked"]}
    if earlier["asked"] and all(asked["text"] in again for asked in earlier["asked"]):
        return []
    return turns_of_run(earlier, messages)


def ended_run(run: MemoryRun, messages: Sequence[AnyMessage]) -> MemoryRun:
    """The run after all of it was remembered."""
    last = _last_answer(messages, only_finished=False)
    return {**run, "asked": [], "after": messages[last].id if last >= 0 else run["after"], "is_over": True}


def turns_in(messages: Sequence[AnyMessage], *roles: type[AnyMessage]) -> list[Turn]:
    """What was really said by these kinds of messages."""
    return [
        Turn("assistant" if isinstance(message, AIMessage) else "user", text)
        for message in messages
        if isinstance(message, roles) and (text := said_in(message))
    ]


def said_in(message: AnyMessage) -> str:
    """The words of a message; none for a tool call without words, or a summary that stands in as a user's message."""
    text = "" if "lc_source" in message.additional_kwargs else str(message.text)
    return text if text.strip() else ""


def _last_answer(messages: Sequence[AnyMessage], *, only_finished: bool) -> int:
    """Position of the agent's last message; -1 without. A call that no tool ever answered finished nothing."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        if isinstance(message, AIMessage) and not (
            only_finished and any(call["id"] not in answered for call in message.tool_calls)
        ):
            return position
    return -1
