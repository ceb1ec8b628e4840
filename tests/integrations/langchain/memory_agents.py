"""Agents with a memory and a scripted model, and looks at what the model was shown and what was remembered."""

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage

from integrations.conformance.langchain_memory import UserContext
from integrations.conformance.scripted_chat_model import ScriptedChatModel


def agent_with(*middleware, answer="ok", tools=(), **more):
    model = ScriptedChatModel(responses=answer if callable(answer) else lambda call: answer)
    more = {"context_schema": UserContext, **more}
    return create_agent(model, tools=list(tools), middleware=list(middleware), **more), model


def say(agent, text, *, user="ann", thread=None, **context):
    config = {"configurable": {"thread_id": thread}} if thread else {}
    return agent.invoke({"messages": [HumanMessage(text)]}, config, context={"user_id": user, **context})


def exchanges(memory, user="ann", session=None):
    hits = memory.retrieve("anything", 100, user=user, session=session)
    return sorted((hit.item.session, hit.item.position, hit.item.text) for hit in hits)


def shown(call):
    return "\n".join(str(message.text) for message in call.messages)
