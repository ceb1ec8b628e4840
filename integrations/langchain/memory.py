"""Long-term memory for `create_agent`: what this user said before is found again, and what is said now is kept."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ModelCallResult, PrivateStateAttr
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.config import get_config
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from integrations.langchain.memory_prompt import DEFAULT_HEADER, memories_section, with_section
from rag_embedder import MemoryRetriever, Turn
from rag_embedder.errors import ConfigError, InputError, UserRequiredError
from rag_embedder.retrievers.base import check_max_tokens, in_thread
from rag_embedder.retrievers.memory_checks import check_name, check_recency, check_score_threshold, check_user
from rag_embedder.search import check_k


class MemoryRun(TypedDict):
    """One run of the agent as its memory sees it."""

    user: str
    session: str
    recalled: str
    """The memories for the prompt, the same for every model call of the run; empty if there are none."""
    asked: list[str]
    """What the user said to begin this run."""
    after: str | None
    """Id of the last answer that was there before."""


def _merge(old: dict[str, MemoryRun], new: dict[str, MemoryRun]) -> dict[str, MemoryRun]:
    return {**old, **new}


class MemoryState(AgentState[Any]):
    """The agent's state with the current run of each memory middleware, by its name; neither input nor output."""

    rag_memory: NotRequired[Annotated[dict[str, MemoryRun], PrivateStateAttr, _merge]]


class RagMemoryMiddleware(AgentMiddleware[MemoryState, Any, Any]):
    """Shows the model what helps from this user's earlier conversations, and remembers the present one. Sync and async.

    Memories are found once per run, for the user's last message, and added to the system message of each model call of
    that run; the thread's messages never hold them. What the messages show anyway is not recalled. After the run, the
    user's new messages and the agent's answers are added; tool calls and their results are not. What was recalled is
    private state of the run: checkpoints and streams of state show it to whoever may read those.

    The user is read from the run's context and required; nothing of another user is ever ranked. This is no permission
    system: whoever sets the context decides whose memories are read.

    Args:
        memory: where memories are kept; you open and close it.
        user_key: name of the user's id in the context: a mapping's key or an object's attribute.
        session_key: name of the session there; without it, the thread's id is the session, or else "default".
        k: how many memories at most.
        max_tokens: budget of their text, by the encoder's tokenizer; the header is not counted.
        score_threshold: leaves out memories that score less. What a score means depends on the model: look at some.
        recency: share of the score, from 0 to 1, that goes to how recent a memory is.
        write: False to recall only.
        across_sessions: False to recall only what was said in this session and is no longer among its messages.
        header: said to the model before the memories.
        name: tells apart two of these middlewares in one agent.

    Raises:
        ConfigError, InputError: for an option that cannot be used.
        UserRequiredError: by a run whose context names no user, before the model is called.
        InputError: by a run that is resumed for another user than it was begun for.
    """

    state_schema = MemoryState

    def __init__(  # noqa: PLR0913  (options, keyword-only)
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
        """Find the memories for this run."""
        run, recall = self._begin(state["messages"], runtime)
        return self._update(run, recall())

    async def abefore_agent(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any]:
        """The same off the event loop."""
        run, recall = self._begin(state["messages"], runtime)
        return self._update(run, await in_thread(recall))

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

    # --- after: remember

    def after_agent(self, state: MemoryState, runtime: Runtime[Any]) -> None:
        """Remember what was said. An error is raised, not swallowed: the answer is in the thread, the memory is not."""
        run, turns = self._said(state, runtime)
        if run and turns:
            self._memory.add_turns(turns, user=run["user"], session=run["session"])

    async def aafter_agent(self, state: MemoryState, runtime: Runtime[Any]) -> None:
        """The same off the event loop."""
        run, turns = self._said(state, runtime)
        if run and turns:
            await in_thread(lambda: self._memory.add_turns(turns, user=run["user"], session=run["session"]))

    def _begin(self, messages: Sequence[AnyMessage], runtime: Runtime[Any]) -> tuple[MemoryRun, Callable[[], str]]:
        user, session = self._user(runtime), self._session(runtime)
        answered = max((n for n, message in enumerate(messages) if isinstance(message, AIMessage)), default=-1)
        asked = _turns(messages[answered + 1 :], HumanMessage)
        ever_asked = asked or _turns(messages, HumanMessage)
        query = ever_asked[-1].content if ever_asked else ""
        visible = _turns(messages, HumanMessage | AIMessage)
        only = None if self._across_sessions else session
        run = MemoryRun(
            user=user,
            session=session,
            recalled="",
            asked=[turn.content for turn in asked],
            after=messages[answered].id if answered >= 0 else None,
        )
        return run, lambda: self._memory.context(query, user=user, session=only, visible=visible, **self._options)

    def _update(self, run: MemoryRun, recalled: str) -> dict[str, Any]:
        return {"rag_memory": {self.name: {**run, "recalled": recalled}}}

    def _with_memories(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        run = self._run(request.state, request.runtime)
        if run is None or not run["recalled"]:
            return request
        section = memories_section(run["recalled"], self._header)
        return request.override(system_message=with_section(request.system_message, section))

    def _said(self, state: MemoryState, runtime: Runtime[Any]) -> tuple[MemoryRun | None, list[Turn]]:
        run = self._run(state, runtime)
        if run is None or not self._write:
            return run, []
        # What the user said was noted at the beginning: a long run may have summarised it away.
        messages = state["messages"]
        before = next((n for n, message in enumerate(messages) if run["after"] and message.id == run["after"]), -1)
        return run, [*(Turn("user", text) for text in run["asked"]), *_turns(messages[before + 1 :], AIMessage)]

    def _run(self, state: Mapping[str, Any], runtime: Runtime[Any]) -> MemoryRun | None:
        """None in a run that began without this middleware, and was interrupted."""
        user = self._user(runtime)
        run = state.get("rag_memory", {}).get(self.name)
        if run is None:
            return None
        if run["user"] != user:
            raise InputError(
                f"{self.name}: the run was begun for another user than it is resumed for; expected the same "
                f"{self._keys[0]!r} in the context. Nothing was recalled or remembered."
            )
        return run

    def _user(self, runtime: Runtime[Any]) -> str:
        key = self._keys[0]
        user = _value(runtime.context, key)
        if user is None:
            raise UserRequiredError(
                f"{self.name}: the run's context ({type(runtime.context).__name__}) has no {key!r}. Memories are never "
                f"read or written without their user: invoke(..., context={{{key!r}: ...}}), and give create_agent a "
                "context_schema with that field."
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


def _turns(messages: Sequence[AnyMessage], kind: Any) -> list[Turn]:  # noqa: ANN401  (a class or a union of them)
    """What was really said: no tool calls without words, and no summary that stands in as a user's message."""
    return [
        Turn("assistant" if isinstance(message, AIMessage) else "user", text)
        for message in messages
        if isinstance(message, kind) and "lc_source" not in message.additional_kwargs
        if (text := str(message.text)).strip()
    ]
