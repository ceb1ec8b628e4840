"""Retrieval for the last question of a chat, where `create_history_aware_retriever` stood, without its LLM call."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    MessageLikeRepresentation,
    RemoveMessage,
    SystemMessage,
    convert_to_messages,
)
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig
from pydantic import Field, model_validator

from integrations.langchain.retriever import RagRetriever
from rag_embedder.errors import ConfigError, InputError, InvalidTextError
from rag_embedder.retrievers.base import in_thread
from rag_embedder.retrievers.conversation import ConversationRetriever
from rag_embedder.retrievers.entries import is_blank
from rag_embedder.retrievers.knowledge import KnowledgeRetriever
from rag_embedder.retrievers.turns import as_turns
from rag_embedder.types import Turn

ChatInput = str | Sequence[MessageLikeRepresentation] | Mapping[str, Any]
"""What a chat application has at hand: see `ConversationalRagRetriever`."""

_ROLES = {"human": "user", "user": "user", "ai": "assistant", "assistant": "assistant", "system": "system"}


class ConversationalRagRetriever(RagRetriever):
    """A `RagRetriever` that is asked with a whole chat; its `retriever` is a `ConversationRetriever`.

    The input is one of

    - messages: LangChain's, `("human", text)` pairs or {"role", "content"} dicts, oldest first;
    - an agent's state or a chat prompt: anything with "messages";
    - {"input": question, "chat_history": messages}, as for `create_history_aware_retriever`;
    - one string: a question without history.

    What is retrieved for is the last user message: tool calls, tool results and answers after it are left out, so the
    state in the middle of a tool loop still means the user's question. System and tool messages are never part of the
    query. User and assistant turns before it are, as many as the model reads, the oldest left out first. No language
    model is called. A trace shows the query as it was encoded, without the instruction. No user message, or an empty
    one, finds nothing.
    """

    max_turns: int | None = Field(default=None, ge=1, strict=True)
    """At most so many user and assistant turns, the question included; None for all that fit the model."""

    _opens: ClassVar[type[KnowledgeRetriever | ConversationRetriever]] = ConversationRetriever

    @model_validator(mode="after")
    def _check_conversation(self) -> Self:
        if not callable(getattr(self.retriever, "query_text", None)):
            raise ConfigError(
                f"retriever: got {type(self.retriever).__name__}; expected a ConversationRetriever. It opens the store "
                "of a KnowledgeRetriever too: ConversationRetriever(embedder, path=...)."
            )
        return self

    @property
    def InputType(self) -> Any:  # noqa: ANN401  (a type expression)
        """What `invoke` takes, for schemas."""
        return str | Sequence[MessageLikeRepresentation] | dict[str, Any]

    def query_text(self, input: ChatInput) -> str:
        """The query that a chat becomes, without instruction; empty if its last question is.

        Raises:
            InputError: for an input of another form; the message says which part.
        """
        retriever: Any = self.retriever
        return retriever.query_text(self._dialogue(input))

    def invoke(self, input: ChatInput, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:  # noqa: ANN401
        """Documents for the last question of the chat; options as for `RagRetriever`."""
        return super().invoke(self.query_text(input), config, **kwargs)

    async def ainvoke(self, input: ChatInput, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:  # noqa: ANN401
        """`invoke` off the event loop."""
        query = await in_thread(lambda: self.query_text(input))
        return await super().ainvoke(query, config, **kwargs)

    def _dialogue(self, input: object) -> str | list[Turn]:
        if isinstance(input, str):
            return input
        spoken = [turn for turn in _turns(_messages(input)) if turn.role in ("user", "assistant")]
        while spoken and spoken[-1].role != "user":
            spoken.pop()
        # A turn without words, as of an assistant that called a tool, does not count.
        worded = [turn for turn in spoken[:-1] if not is_blank(turn.content)] + spoken[-1:]
        return worded if self.max_turns is None else worded[-self.max_turns :]


def _messages(input: object) -> Sequence[Any]:
    """The messages of any accepted form but a string, as they came, oldest first."""
    if isinstance(input, PromptValue):
        return input.to_messages()
    if isinstance(input, BaseMessage):
        return [input]
    if isinstance(input, Mapping) and "role" not in input:
        return _from_mapping(input)
    if not isinstance(input, Mapping) and hasattr(input, "messages"):  # an agent's state as an object
        input = getattr(input, "messages", None)
    return _checked(input, "input")


def _from_mapping(given: Mapping[str, Any]) -> Sequence[Any]:
    if "messages" in given and ("input" in given or "chat_history" in given):
        raise InputError(
            "input: got a dict with both 'messages' and 'input' or 'chat_history'; expected one of the two forms. Pass "
            "the messages alone: input['messages']."
        )
    if "messages" in given:
        return _checked(given["messages"], "messages")
    if "input" not in given:
        raise InputError(
            f"input: got a dict with the keys {sorted(map(str, given))}; expected 'messages', or 'input' with "
            "'chat_history'."
        )
    question = given["input"]
    last = question if isinstance(question, BaseMessage) else HumanMessage(_checked_question(question))
    return [*_checked(given.get("chat_history") or [], "chat_history"), last]


def _checked(messages: object, field: str) -> Sequence[Any]:
    if isinstance(messages, str | bytes | Mapping | BaseMessage) or not isinstance(messages, Sequence):
        raise InvalidTextError(
            f"{field}: got {type(messages).__name__}; expected a list of messages, oldest first"
            + (", a dict with 'messages', or a str." if field == "input" else ".")
        )
    return messages


def _checked_question(question: object) -> str:
    if not isinstance(question, str):
        raise InvalidTextError(f"input: got {type(question).__name__}; expected the user's question as str.")
    return question


def _turns(messages: Sequence[Any]) -> list[Turn]:
    kept = [_turn(message, at) for at, message in enumerate(messages) if not isinstance(message, RemoveMessage)]
    return as_turns(kept, field="messages")


def _turn(message: Any, position: int) -> Turn | dict[str, Any]:  # noqa: ANN401  (whatever the caller passed)
    if isinstance(message, Turn):
        return message
    if isinstance(message, str):  # LangChain would take it for the user's; in a history that is a guess
        raise InputError(f"messages[{position}]: got a bare str; expected a message, such as ('human', text).")
    try:
        (converted,) = convert_to_messages([message])
    except (ValueError, TypeError, NotImplementedError, KeyError):  # its own message repeats the text
        raise InputError(
            f"messages[{position}]: got {type(message).__name__}, which is no message; expected a LangChain message, a "
            "(role, text) pair or a dict with 'role' and 'content'."
        ) from None
    return {"role": _role(converted), "content": converted.content}


def _role(message: BaseMessage) -> str:
    if isinstance(message, HumanMessage):  # its chunks too, whose `type` has another name
        return "user"
    if isinstance(message, AIMessage):
        return "assistant"
    if isinstance(message, ChatMessage):
        return _ROLES.get(message.role.lower(), "system")
    return "system" if isinstance(message, SystemMessage) else "tool"
