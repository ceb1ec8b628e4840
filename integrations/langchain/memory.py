"""Long-term memory for `create_agent`: what this user said before is found again, and what is said now is kept."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain.agents.middleware.types import ModelCallResult
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Command

from integrations.langchain.memory_prompt import DEFAULT_HEADER, memories_section, with_section
from integrations.langchain.memory_run import (
    MemoryRun,
    MemoryState,
    begun_run,
    ended_run,
    turns_in,
    turns_left,
    turns_of_run,
)
from rag_embedder import MemoryRetriever
from rag_embedder.errors import ConfigError, InputError, UserRequiredError
from rag_embedder.retrievers.base import check_max_tokens, in_thread
from rag_embedder.retrievers.memory_checks import check_name, check_recency, check_score_threshold, check_user
from rag_embedder.search import check_k

_TOOL_NOT_CALLED = (
    "The tool was not called, and nothing was recalled or remembered. What was decided on resuming stays in the "
    "thread's state: look at it before the right user resumes."
)
_GONE_ON = (
    "Nothing was recalled or remembered. What was decided on resuming stays in the thread's state, and what came "
    "before this step, such as hooks of other middleware, may have run."
)


class RagMemoryMiddleware(AgentMiddleware[MemoryState, Any, Any]):
    """Shows the model what helps from this user's earlier conversations, and remembers the present one. Sync and async.

    Memories are found once per run, for the user's last message, and added to the system message of each model call of
    that run; the thread's messages never hold them. What the messages show anyway is not recalled. After the run, the
    user's new messages and the agent's answers are added; tool calls and their results are not. With a checkpointer,
    those of a run that broke off, or was left open, are added when the next one begins in its thread. What was recalled
    is private state of the run: checkpoints and streams of state show it to whoever may read those.

    The user is read from the run's context and required, also to resume a run; nothing of another user is ever ranked.
    This is no permission system: whoever sets the context decides whose memories are read. One thread is one user's.

    Args:
        memory: where memories are kept; you open and close it.
        user_key: name of the user's id in the context: a mapping's key or an object's attribute.
        session_key: name of the session there; without it, the thread's id is the session, or else "default".
        k: how many memories at most.
        max_tokens: budget of their text, by the encoder's tokenizer; the header is not counted.
        score_threshold: leaves out memories that score less. What a score means depends on the model: look at some.
        recency: share of the score, from 0 to 1, that goes to how recent a memory is.
        write: False to recall only; so for an agent that is a tool of another one, whose words no user has said.
        across_sessions: False to recall only what was said in the same chat session, and is not among its messages.
        header: said to the model before the memories.
        name: tells apart two of these middlewares in one agent.

    Raises:
        ConfigError, InputError: for an option that cannot be used.
        UserRequiredError: by a run whose context names no user, before the model is called.
        InputError: by a run that is resumed for another user than it was begun for, before the next tool or model call.
    """

    state_schema = MemoryState

    def __init__(
        self,
        memory: MemoryRetriever,
        *,
        user_key: str = "user_id",
        session_key: str = "session_id",
        k: int = 8,
        max_tokens: int = 512,
        score_threshold: float | None = None,
        recency: float = 0.0,
        write: bool = True,
        across_sessions: bool = True,
        header: str = DEFAULT_HEADER,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if not all(callable(getattr(memory, method, None)) for method in ("context", "add_turns")):
            raise ConfigError(f"memory: got {type(memory).__name__}; expected a MemoryRetriever.")
        for field, key in (("user_key", user_key), ("session_key", session_key), ("name", name or "x")):
            if not isinstance(key, str) or not key:
                raise ConfigError(f"{field}: got {key!r}; expected a non-empty str.")
        for field, flag in (("write", write), ("across_sessions", across_sessions)):
            if not isinstance(flag, bool):
                raise ConfigError(f"{field}: got {flag!r}; expected True or False.")
        if not isinstance(header, str):
            raise ConfigError(f"header: got {type(header).__name__}; expected a str, which may be empty.")
        check_k(k)
        check_max_tokens(max_tokens)
        check_score_threshold(score_threshold)
        check_recency(recency)
        self._memory = memory
        self._keys = (user_key, session_key)
        self._options = {"k": k, "max_tokens": max_tokens, "score_threshold": score_threshold, "recency": recency}
        self._write = write
        self._across_sessions = across_sessions
        self._header = header
        self._name = name or type(self).__name__

    @property
    def name(self) -> str:
        """The middleware's name among those of an agent."""
        return self._name

    # --- before: recall once

    def before_agent(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Find the memories for this run, and remember what a run before it left when it broke off."""
        return self._beginning(state, runtime)()

    async def abefore_agent(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any]:
        """The same off the event loop."""
        return await in_thread(self._beginning(state, runtime))

    # --- each model call: show

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelCallResult[Any]:
        """Call the model with the memories of this run; with its request as it is if there are none."""
        return handler(self._with_memories(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelCallResult[Any]:
        """The same for an async agent."""
        return await handler(self._with_memories(request))

    # --- each tool call: only for the user of the run

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run the tool, unless the run was resumed for another user."""
        self._run(request.state, request.runtime, _TOOL_NOT_CALLED)
        return handler(request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """The same for an async agent."""
        self._run(request.state, request.runtime, _TOOL_NOT_CALLED)
        return await handler(request)

    # --- after: remember

    def after_agent(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Remember what was said. An error is raised, not swallowed: the answer is in the thread, the memory is not."""
        ending = self._ending(state, runtime)
        return ending() if ending else None

    async def aafter_agent(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """The same off the event loop."""
        ending = self._ending(state, runtime)
        return await in_thread(ending) if ending else None

    def _beginning(self, state: MemoryState, runtime: Runtime[Any]) -> Callable[[], dict[str, Any]]:
        messages, earlier = state["messages"], state.get("rag_memory", {}).get(self.name)
        run = begun_run(messages, earlier, user=self._user(runtime), session=self._session(runtime))
        left = turns_left(earlier, run, messages) if self._write else []
        run["is_over"] = not self._write
        asked = [asked["text"] for asked in run["asked"]] or [turn.content for turn in turns_in(messages, HumanMessage)]
        visible = turns_in(messages, HumanMessage, AIMessage)
        session = None if self._across_sessions else run["session"]

        def begin() -> dict[str, Any]:
            query = asked[-1] if asked else ""
            recalled = self._memory.context(query, user=run["user"], session=session, visible=visible, **self._options)
            # Last, so that a failure before it leaves nothing half done.
            if earlier and left:
                self._memory.add_turns(left, user=earlier["user"], session=earlier["session"])
            return self._update({**run, "recalled": recalled})

        return begin

    def _ending(self, state: MemoryState, runtime: Runtime[Any]) -> Callable[[], dict[str, Any]] | None:
        run = self._run(state, runtime, _GONE_ON)
        if run is None or not self._write:
            return None
        turns = turns_of_run(run, state["messages"])

        def end() -> dict[str, Any]:
            if turns:
                self._memory.add_turns(turns, user=run["user"], session=run["session"])
            return self._update(ended_run(run, state["messages"]))

        return end

    def _update(self, run: MemoryRun) -> dict[str, Any]:
        return {"rag_memory": {self.name: run}}

    def _with_memories(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        run = self._run(request.state, request.runtime, _GONE_ON)
        if run is None or not run["recalled"]:
            return request
        section = memories_section(run["recalled"], self._header)
        return request.override(system_message=with_section(request.system_message, section))

    def _run(self, state: Mapping[str, Any], runtime: Any, consequence: str) -> MemoryRun | None:  # noqa: ANN401  (a `Runtime` or a `ToolRuntime`)
        """None in a run that began without this middleware, and was interrupted."""
        user = self._user(runtime)
        run = state.get("rag_memory", {}).get(self.name)
        if run is None:
            return None
        if run["user"] != user:
            raise InputError(
                f"{self.name}: the run was begun for another user than it is resumed for; expected the same "
                f"{self._keys[0]!r} in the context. {consequence}"
            )
        return run

    def _user(self, runtime: Any) -> str:  # noqa: ANN401  (as for `_run`)
        key = self._keys[0]
        user = _value(runtime.context, key)
        if user is None:
            raise UserRequiredError(
                f"{self.name}: the run's context ({type(runtime.context).__name__}) has no {key!r}. Memories are never "
                f"read or written without their user: invoke(..., context={{{key!r}: ...}}), also to resume a run, and "
                "give create_agent a context_schema with that field."
            )
        check_user(user)
        return user

    def _session(self, runtime: Runtime[Any]) -> str:
        session = _value(runtime.context, self._keys[1])
        if session is None:
            thread = _thread_id()
            session = "default" if thread is None else str(thread)
        check_name(session, "session")
        return session


def _value(context: object, key: str) -> Any:  # noqa: ANN401  (checked afterwards)
    return context.get(key) if isinstance(context, Mapping) else getattr(context, key, None)


def _thread_id() -> object:
    try:
        return get_config().get("configurable", {}).get("thread_id")
    except RuntimeError:  # a hook called outside of a graph
        return None
