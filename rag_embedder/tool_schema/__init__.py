"""Tools of any framework become `Tool`; a `Tool` becomes the text that is embedded, or a function schema."""

from rag_embedder.tool_schema.recognise import as_tool, tool_schema
from rag_embedder.tool_schema.template import tool_text

__all__ = ["as_tool", "tool_schema", "tool_text"]
