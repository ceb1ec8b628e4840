"""An agent with 500 tools, whose model is shown the eight that the request needs.

Offline, with a model that follows a script:   python examples/tools_agent.py
With a real one:   RAG_EXAMPLE_MODEL="openai:gpt-5" python examples/tools_agent.py "Approve expense report 2031"
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

try:
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware, wrap_model_call
    from langchain.chat_models import init_chat_model
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
    from langchain_core.tools import BaseTool, StructuredTool
    from langchain_core.utils.function_calling import convert_to_openai_tool

    from integrations.conformance.scripted_chat_model import ModelCall, ScriptedChatModel, call_of
    from integrations.langchain import RagToolSelectorMiddleware
    from rag_embedder import Embedder
except ImportError as missing:
    sys.exit(f"{missing}. This example needs: pip install 'rag-embedder[langchain-agents]'")

# --- the tools: 25 kinds of records, 20 things to do with each, and a table in memory that they change

KINDS = """invoice, customer, contract, purchase order, payment, refund, shipment, supplier, product, warehouse,
meeting, calendar entry, project, employee, holiday request, expense report, e-mail, newsletter, support ticket, server,
software release, database backup, feature flag, alarm, training course"""

ACTIONS = {
    "create": "Create a new {kind}.",
    "show": "Show everything that is known about a {kind}.",
    "delete": "Delete a {kind} for good.",
    "rename": "Give a {kind} another name.",
    "copy": "Make a copy of a {kind}.",
    "archive": "Put a {kind} into the archive.",
    "restore": "Bring an archived {kind} back.",
    "approve": "Approve a {kind} that waits for a decision.",
    "reject": "Reject a {kind} that waits for a decision.",
    "assign": "Make a colleague responsible for a {kind}.",
    "share": "Let somebody else see a {kind}.",
    "comment_on": "Write a comment on a {kind}.",
    "tag": "Put a label on a {kind}.",
    "schedule": "Set the date on which a {kind} is due.",
    "postpone": "Move a {kind} to a later date.",
    "export": "Save a {kind} as a PDF file.",
    "print": "Print a {kind} on paper.",
    "translate": "Translate a {kind} into another language.",
    "watch": "Be told about every change of a {kind}.",
    "audit": "List who changed a {kind}, and when.",
}

RECORDS: dict[str, list[str]] = {}


def make_tools() -> list[BaseTool]:
    """One tool for each kind and action, such as `approve_expense_report`."""
    kinds = [kind.strip() for kind in KINDS.replace("\n", " ").split(",")]
    return [make_tool(kind, action, says) for kind in kinds for action, says in ACTIONS.items()]


def make_tool(kind: str, action: str, says: str) -> BaseTool:
    """A tool that notes its action in the record's history, and answers with it."""

    def run(record: str, detail: str = "") -> str:
        history = RECORDS.setdefault(f"{kind} {record}", [])
        history.append(f"{action} {detail}".strip())
        return f"{kind} {record}: {', '.join(history)}"

    name = f"{action}_{kind}".replace(" ", "_").replace("-", "")
    return StructuredTool.from_function(run, name=name, description=says.format(kind=kind))


# --- the model: a script, or the one that RAG_EXAMPLE_MODEL names

SCRIPT = {
    "Approve the expense report 2031 of my trip to Oslo.": call_of("approve_expense_report", record="2031"),
    "The server db-3 is acting up. Who changed it, and when?": call_of("audit_server", record="db-3"),
    "Please translate the newsletter for May into Norwegian.": call_of(
        "translate_newsletter", record="May", detail="into Norwegian"
    ),
}


def make_model() -> BaseChatModel:
    """RAG_EXAMPLE_MODEL, such as "openai:gpt-5", or a model that follows `SCRIPT`."""
    name = os.environ.get("RAG_EXAMPLE_MODEL")
    return init_chat_model(name) if name else ScriptedChatModel(responses=follow_script)


def follow_script(call: ModelCall) -> AIMessage | str:
    """Call the tool of the script if it is shown; then repeat its answer."""
    last = call.messages[-1]
    if isinstance(last, ToolMessage):
        return f"Done. {last.text}"
    wanted = SCRIPT[str(last.text)]
    if wanted.tool_calls[0]["name"] not in call.tool_names:
        return "I was shown no tool for that."
    return wanted


# --- the agent


def main() -> None:
    """Answer each request, and say what the model was shown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("request", nargs="*", help="your own requests; they need RAG_EXAMPLE_MODEL")
    parser.add_argument("--max-tools", type=int, default=8, help="tools shown to the model (default 8)")
    options = parser.parse_args()
    if options.request and not os.environ.get("RAG_EXAMPLE_MODEL"):
        parser.error("your own requests need a real model: set RAG_EXAMPLE_MODEL, such as openai:gpt-5")

    model = make_model()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the processor to others
    embedder = Embedder.load()
    tools = make_tools()
    all_tokens = schema_tokens(embedder, tools)
    print(f"{len(tools)} tools, whose schemas take {all_tokens} tokens\n")

    @wrap_model_call
    def report(request: Any, handler: Any) -> Any:  # noqa: ANN401  (LangChain's types have three parameters each)
        if isinstance(request.messages[-1], HumanMessage):  # the same tools are shown when their answer is read
            shown = schema_tokens(embedder, request.tools)
            print(f"  shown: {', '.join(tool.name for tool in request.tools)}")
            print(f"  schema tokens: {shown}, saved: {all_tokens - shown}")
        return handler(request)

    selector = RagToolSelectorMiddleware(embedder, max_tools=options.max_tools, stickiness="turn")
    middleware: list[AgentMiddleware[Any, Any, Any]] = [selector, report]
    agent = create_agent(model, tools, middleware=middleware)
    for request in options.request or SCRIPT:
        print(f"> {request}")
        messages = agent.invoke({"messages": [HumanMessage(request)]})["messages"]
        for message in answers(messages):
            print(f"  {message}")
        print()


def schema_tokens(embedder: Embedder, tools: list[BaseTool]) -> int:
    """Tokens of the schemas as a provider gets them, by the encoder's tokenizer."""
    return sum(embedder.count_tokens([json.dumps(convert_to_openai_tool(tool)) for tool in tools]))


def answers(messages: list[Any]) -> Iterator[str]:
    """What the tools answered, and then the model."""
    for message in messages:
        if isinstance(message, ToolMessage):
            yield f"{message.name} answered: {message.text}"
    yield f"the model: {messages[-1].text}"


if __name__ == "__main__":
    main()
