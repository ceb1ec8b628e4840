"""Marks that others have left for tool selection: tools to be loaded on demand, and the one a model must call."""

from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool

_DEFERRED = "defer_loading"


def is_deferred(tool: BaseTool) -> bool:
    """Whether a tool asks not to be shown until it is needed, as `ProviderToolSearchMiddleware` understands it."""
    return bool(tool.extras) and tool.extras.get(_DEFERRED) is True


def undeferred(tool: BaseTool | dict[str, Any]) -> BaseTool | dict[str, Any]:
    """A tool that is shown now: a copy without the mark, which its provider would refuse outside a tool search."""
    if isinstance(tool, dict) or not is_deferred(tool):
        return tool
    extras = {key: value for key, value in (tool.extras or {}).items() if key != _DEFERRED}
    return tool.model_copy(update={"extras": extras or None})


def named_by(tool_choice: object) -> set[str]:
    """The tool a model is told to call: a bare name, or a dict in the manner of OpenAI or Anthropic; else empty."""
    if isinstance(tool_choice, Mapping):
        function = tool_choice.get("function")
        tool_choice = (function if isinstance(function, Mapping) else tool_choice).get("name")
    return {tool_choice} if isinstance(tool_choice, str) else set()
