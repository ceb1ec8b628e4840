"""A chat model that says what a script tells it to, and notes what it was shown: messages and tools."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, SkipValidation


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What one call of the model was given; `tools` are the schemas it would send, `options` all other arguments."""

    messages: tuple[BaseMessage, ...]
    tools: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]

    @property
    def tool_names(self) -> list[str]:
        """Names of the tools in the order shown; for a provider's own tool without a name, its type."""
        return [tool.get("function", tool).get("name") or str(tool.get("type")) for tool in self.tools]


Response = AIMessage | str | Callable[[ModelCall], AIMessage | str]
"""What the model says: a message, its text, or a function of what it was shown."""


class ScriptedChatModel(BaseChatModel):
    """Answers each call with the next of `responses`; `calls` notes all calls in order. Sync and async.

    Each answer is a copy, so one script serves many models. A function in place of the list answers every call.

    Raises:
        AssertionError: when called more often than there are responses, with the number of them.
    """

    responses: SkipValidation[Sequence[Response] | Callable[[ModelCall], AIMessage | str]]
    calls: list[ModelCall] = Field(default_factory=list)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,  # noqa: ANN401  (the framework's signature)
    ) -> Runnable[Any, AIMessage]:
        """As a provider's model does it: tool objects become function schemas, provider dicts stay as they are."""
        shown = [tool if isinstance(tool, Mapping) else convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=shown, tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401  (the framework's signature)
    ) -> ChatResult:
        call = ModelCall(tuple(messages), tuple(kwargs.pop("tools", ())), kwargs)
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
        response = self._response(number)
        said = response(call) if callable(response) else response
        message = AIMessage(said) if isinstance(said, str) else said.model_copy(deep=True)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401  (the framework's signature)
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)

    def _response(self, number: int) -> Response:
        if callable(self.responses):
            return self.responses
        if number > len(self.responses):
            raise AssertionError(f"the script has {len(self.responses)} responses; the model was called once more.")
        return self.responses[number - 1]


def call_of(name: str, **arguments: Any) -> AIMessage:  # noqa: ANN401  (JSON values)
    """An answer that calls one tool; the call's id is made of the name."""
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{name}", "type": "tool_call"}])
