"""A chat that remembers: two users, two runs of this program, one folder.

Run it twice. In the first run Ann and Bob tell something; in the second, with an empty chat, both ask.
Offline, with a model that repeats what it was reminded of:   python examples/memory_chat.py --folder memories
With a real one:   RAG_EXAMPLE_MODEL="openai:gpt-5" python examples/memory_chat.py --user ann "What did I tell you?"
"""

import argparse
import os
import sys
import uuid
from typing import Any, TypedDict

try:
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware, wrap_model_call
    from langchain.chat_models import init_chat_model
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import HumanMessage

    from integrations.conformance.scripted_chat_model import ModelCall, ScriptedChatModel
    from integrations.langchain import RagMemoryMiddleware
    from rag_embedder import Embedder, MemoryRetriever
except ImportError as missing:
    sys.exit(f"{missing}. This example needs: pip install 'rag-embedder[langchain-agents]'")

FIRST_RUN = [
    ("ann", "My daughter Ida is allergic to hazelnuts."),
    ("ann", "On Thursdays I play the cello in an orchestra."),
    ("bob", "My daughter Mia loves hazelnuts, above all in chocolate."),
    ("bob", "I am training for the marathon in Bergen."),
]
SECOND_RUN = [
    ("ann", "Which cake can I bake for my daughter?"),
    ("bob", "Which cake can I bake for my daughter?"),
]


class Context(TypedDict):
    """Who is speaking: set by the program that knows it, never by the model."""

    user_id: str
    session_id: str


def make_model() -> BaseChatModel:
    """RAG_EXAMPLE_MODEL, such as "openai:gpt-5", or a model that repeats its memories."""
    name = os.environ.get("RAG_EXAMPLE_MODEL")
    return init_chat_model(name) if name else ScriptedChatModel(responses=repeat_memories)


def repeat_memories(call: ModelCall) -> str:
    """A question is answered with what the system message reminds of."""
    if not str(call.messages[-1].text).endswith("?"):
        return "Noted."
    facts = [line.removeprefix("user: ") for line in memories_in(call.messages[0]) if line.startswith("user: ")]
    return f"I remember: {' '.join(facts)}" if facts else "I remember nothing."


def memories_in(message: Any) -> list[str]:  # noqa: ANN401  (any message, or None)
    """The lines that `RagMemoryMiddleware` has added to a system message; none without memories."""
    text = "" if message is None else str(message.text)
    return text.partition("<memories>\n")[2].partition("\n</memories>")[0].splitlines()


@wrap_model_call
def report(request: Any, handler: Any) -> Any:  # noqa: ANN401  (LangChain's types have three parameters each)
    """Print what the model is reminded of."""
    for line in memories_in(request.system_message):
        print(f"    | {line}")
    return handler(request)


def main() -> None:
    """Play one run, or say the messages given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("message", nargs="*", help="say this instead of the two runs")
    parser.add_argument("--user", default="ann", help="who says it (default ann)")
    parser.add_argument("--folder", default="example-memories", help="where memories are kept (default %(default)s)")
    options = parser.parse_args()

    model = make_model()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the processor to others
    with MemoryRetriever(Embedder.load(), path=options.folder) as memory:
        print(f"{len(memory)} memories in {options.folder}")
        said = [(options.user, message) for message in options.message]
        middleware: list[AgentMiddleware[Any, Any, Any]] = [RagMemoryMiddleware(memory, k=1), report]
        agent = create_agent(model, middleware=middleware, context_schema=Context)
        session = uuid.uuid4().hex[:8]
        for user, message in said or (SECOND_RUN if len(memory) else FIRST_RUN):
            print(f"\n{user}: {message}")
            # A chat of one message each: whatever the model knows besides, it knows from its memory.
            context = Context(user_id=user, session_id=session)
            answer = agent.invoke({"messages": [HumanMessage(message)]}, context=context)
            print(f"model: {answer['messages'][-1].text}")
        print(f"\n{len(memory)} memories now: {memory.count('ann')} of ann, {memory.count('bob')} of bob")


if __name__ == "__main__":
    main()
