"""What a conversation asks of the tools: the text they are searched with, and which turn it belongs to."""

from collections.abc import Callable, Sequence

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage

from rag_embedder.retrievers.turns import as_turns, join_dialogue

ToolQuery = Callable[[Sequence[AnyMessage]], str]
"""Makes the text to search tools with from the messages of a model call; an empty one asks for nothing."""


def last_requests(messages: Sequence[BaseMessage], num_turns: int, fits: Callable[[str], bool]) -> str:
    """The user's last `num_turns` messages as one text, the newest last; whole older ones are left out until it fits.

    The model's own words and the results of tools are not part of it, so that it stays the same while the tools of one
    turn are called. Empty if the newest message is.
    """
    newest = [{"role": "user", "content": message.content} for message in _requests(messages)[-num_turns:]]
    return join_dialogue(as_turns(newest, field="messages"), fits)


def turn_of(messages: Sequence[BaseMessage]) -> str | None:
    """A name for the user's turn that is being answered: the same for every model call of a tool loop; None without."""
    requests = _requests(messages)
    if not requests:
        return None
    return requests[-1].id or f"turn {len(requests)}"


def _requests(messages: Sequence[BaseMessage]) -> list[HumanMessage]:
    # LangChain's summarization puts its summary of the conversation into a human message, but nobody said it.
    return [
        message
        for message in messages
        if isinstance(message, HumanMessage) and message.additional_kwargs.get("lc_source") != "summarization"
    ]
