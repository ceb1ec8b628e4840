"""A language model for LlamaIndex that says what a script tells it to, and notes what it was shown."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool
from pydantic import Field, PrivateAttr, SkipValidation


@dataclass(frozen=True, slots=True)
class LLMCall:
    """What one call of the model was given: copies of the messages, and the names of the tools in the order shown."""

    messages: tuple[ChatMessage, ...]
    tool_names: tuple[str, ...]

    @property
    def text(self) -> str:
        """All messages as lines, `role: content`."""
        return "\n".join(f"{message.role.value}: {message.content or ''}" for message in self.messages)


Response = ChatMessage | str | Callable[[LLMCall], ChatMessage | str]
"""What the model says: a message, its text, or a function of what it was shown."""


class ScriptedLLM(FunctionCallingLLM):
    """Answers each call with the next of `responses`; `calls` notes all calls in order. Sync, async and streaming.

    Each answer is a copy, so one script serves many models. A function in place of the list answers every call.

    Raises:
        AssertionError: when called more often than there are responses, with the number of them.
    """

    responses: SkipValidation[Sequence[Response] | Callable[[LLMCall], ChatMessage | str]]
    calls: list[LLMCall] = Field(default_factory=list)
    context_window: int = 100_000
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "ScriptedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """A chat model that calls tools."""
        return LLMMetadata(
            model_name="scripted",
            context_window=self.context_window,
            is_chat_model=True,
            is_function_calling_model=True,
        )

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:  # noqa: ANN401
        """The next answer of the script."""
        return ChatResponse(message=self._answer(messages, kwargs.get("tools") or ()))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:  # noqa: ANN401
        """The next answer of the script."""
        return self.chat(messages, **kwargs)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:  # noqa: ANN401
        """The next answer word by word; tool calls come with the last one."""
        answer = self._answer(messages, kwargs.get("tools") or ())

        def parts() -> ChatResponseGen:
            yield from _parts(answer)

        return parts()

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:  # noqa: ANN401
        """The next answer word by word; tool calls come with the last one."""
        answer = self._answer(messages, kwargs.get("tools") or ())

        async def parts() -> ChatResponseAsyncGen:
            for part in _parts(answer):
                yield part

        return parts()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ANN401
        """The next answer's text."""
        return CompletionResponse(text=self._answer([ChatMessage(prompt)], ()).content or "")

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ANN401
        """The next answer's text."""
        return self.complete(prompt, formatted, **kwargs)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: ANN401
        """The next answer's text, at once."""
        text = self.complete(prompt, formatted, **kwargs).text

        def parts() -> CompletionResponseGen:
            yield CompletionResponse(text=text, delta=text)

        return parts()

    async def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,
        **kwargs: Any,  # noqa: ANN401  (the framework's signature)
    ) -> CompletionResponseAsyncGen:
        """The next answer's text, at once."""
        text = self.complete(prompt, formatted, **kwargs).text

        async def parts() -> CompletionResponseAsyncGen:
            yield CompletionResponse(text=text, delta=text)

        return parts()

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,  # noqa: ANN401  (the framework's signature)
    ) -> list[ToolSelection]:
        """The tool calls of an answer."""
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if error_on_no_tool_call and not calls:
            raise ValueError("the answer calls no tool; expected at least one call.")
        return [
            ToolSelection(
                tool_id=call.tool_call_id or f"call-{call.tool_name}",
                tool_name=call.tool_name,
                tool_kwargs=call.tool_kwargs if isinstance(call.tool_kwargs, dict) else {},
            )
            for call in calls
        ]

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,  # noqa: ANN401  (the framework's signature)
    ) -> dict[str, Any]:
        message = ChatMessage(user_msg) if isinstance(user_msg, str) else user_msg
        return {"messages": [*(chat_history or []), *([message] if message else [])], "tools": list(tools), **kwargs}

    def _answer(self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool]) -> ChatMessage:
        call = LLMCall(
            tuple(message.model_copy(deep=True) for message in messages),
            tuple(tool.metadata.get_name() for tool in tools),
        )
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
        response = self._response(number)
        said = response(call) if callable(response) else response
        return ChatMessage(said, role=MessageRole.ASSISTANT) if isinstance(said, str) else said.model_copy(deep=True)

    def _response(self, number: int) -> Response:
        if callable(self.responses):
            return self.responses
        if number > len(self.responses):
            raise AssertionError(f"the script has {len(self.responses)} responses; the model was called once more.")
        return self.responses[number - 1]


def call_of(name: str, **arguments: Any) -> ChatMessage:  # noqa: ANN401  (JSON values)
    """An answer that calls one tool; the call's id is made of the name."""
    call = ToolCallBlock(tool_call_id=f"call-{name}", tool_name=name, tool_kwargs=arguments)
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=[call])


def _parts(answer: ChatMessage) -> Iterator[ChatResponse]:
    words = (answer.content or "").split(" ")
    for position, word in enumerate(words[:-1]):
        said = " ".join(words[: position + 1])
        part = ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=said)])
        yield ChatResponse(message=part, delta=f"{word} ")
    yield ChatResponse(message=answer, delta=words[-1])
