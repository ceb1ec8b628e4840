"""Tools of every framework become the same record."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import pytest

from rag_embedder.errors import InputError
from rag_embedder.tool_schema import as_tool, tool_schema, tool_text
from rag_embedder.types import Tool

WEATHER_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Name of the city."},
        "days": {"type": "integer", "default": 3},
    },
    "required": ["city"],
}


WEATHER_TEXT = """\
get_weather: Forecast for a city.
parameters:
- city (string, required): Name of the city.
- days (integer, optional, default 3)"""


def get_weather(city: str, days: int = 3) -> str:
    """Forecast for a city.

    Args:
        city: Name of the city.
    """
    return f"{city}: {days} sunny days"


class FakeMcpTool:
    name = "get_weather"
    description = "Forecast for a city."
    inputSchema = WEATHER_SCHEMA


class LlamaMetadata(NamedTuple):
    name: str
    description: str

    def get_parameters_dict(self) -> dict[str, Any]:
        return WEATHER_SCHEMA


class FakeLlamaTool:
    metadata = LlamaMetadata("get_weather", "Forecast for a city.")

    def __call__(self, wrong: str) -> None:
        """Callable too, as LlamaIndex tools are."""


def fake_langchain_tool(attribute: str, value: object) -> object:
    base = type("BaseTool", (), {"__module__": "langchain_core.tools.base", "__call__": lambda self: None})
    fields = {"name": "get_weather", "description": "Forecast for a city.", attribute: value}
    return type("WeatherTool", (base,), fields)()


class FakePydantic:
    @staticmethod
    def model_json_schema() -> dict[str, Any]:
        return {"title": "get_weather", "description": "Forecast for a city.", **WEATHER_SCHEMA}


SAME_TOOL: dict[str, object] = {
    "function": get_weather,
    "openai nested": {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Forecast for a city.",
            "parameters": WEATHER_SCHEMA,
            "strict": True,
        },
    },
    "openai flat": {
        "type": "function",
        "name": "get_weather",
        "description": "Forecast for a city.",
        "parameters": WEATHER_SCHEMA,
    },
    "anthropic": {"name": "get_weather", "description": "Forecast for a city.", "input_schema": WEATHER_SCHEMA},
    "mcp dict": {"name": "get_weather", "description": "Forecast for a city.", "inputSchema": WEATHER_SCHEMA},
    "plain": {"name": "get_weather", "description": " Forecast for a city.\n", "parameters": WEATHER_SCHEMA},
    "mcp object": FakeMcpTool(),
    "llama_index": FakeLlamaTool(),
    "langchain pydantic": fake_langchain_tool("tool_call_schema", FakePydantic),
    "langchain dict": fake_langchain_tool("args_schema", WEATHER_SCHEMA),
    "Tool": Tool("get_weather", "Forecast for a city.", WEATHER_SCHEMA),
}


@pytest.mark.parametrize("obj", SAME_TOOL.values(), ids=SAME_TOOL.keys())
def test_every_kind_gives_the_same_tool_and_keeps_the_original(obj: object) -> None:
    tool = as_tool(obj)
    assert tool == Tool("get_weather", "Forecast for a city.", WEATHER_SCHEMA)
    assert tool.original is obj
    assert tool_text(tool) == WEATHER_TEXT


def test_langchain_args_are_read_where_there_is_no_schema() -> None:
    tool = as_tool(fake_langchain_tool("args", {"city": {"type": "string"}}))
    assert tool.parameters == {"type": "object", "properties": {"city": {"type": "string"}}}


def test_converting_twice_changes_nothing() -> None:
    once = as_tool(get_weather)
    assert as_tool(once) == once
    assert as_tool(once).original is get_weather


def test_a_tool_does_not_change_when_its_source_does() -> None:
    source = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
    tool = as_tool(source)
    source["parameters"]["properties"]["a"]["type"] = "integer"  # type: ignore[index]
    assert tool.parameters["properties"]["a"]["type"] == "string"


def test_bare_properties_are_wrapped() -> None:
    tool = as_tool({"name": "buy", "parameters": {"items": {"type": "array"}, "type": {"type": "string"}}})
    assert tool.parameters == {
        "type": "object",
        "properties": {"items": {"type": "array"}, "type": {"type": "string"}},
    }


class Nameless:
    """Has no name."""

    def __call__(self) -> None:
        """Do nothing."""


class Undocumented:
    pass


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (42, "a int cannot be used as a tool; expected a Tool, a Python callable"),
        (None, "a NoneType cannot be used"),
        ("search", "a str cannot be used"),
        ([get_weather], "a list cannot be used"),
        ({"description": "x"}, "has no 'name'"),
        ({"name": ""}, "0 characters"),
        ({"name": "  "}, "2 characters"),
        ({"name": "x" * 257}, "257 characters; expected 1 to 256"),
        ({"name": "a\nb"}, "control characters"),
        ({"name": 7}, "a int for its name"),
        ({"name": "f", "description": 7}, "tool 'f': description is a int"),
        ({"name": "f", "parameters": "city: str"}, "tool 'f': parameters is a str"),
        ({"name": "f", "parameters": ["city"]}, "tool 'f': parameters is a list"),
        ({"name": "f", "parameters": {"type": "string"}}, r"parameters\.type is a str \('string'\); expected 'object'"),
        ({"name": "f", "parameters": {"type": "object", "properties": []}}, r"parameters\.properties is a list"),
        (
            {"name": "f", "parameters": {"type": "object", "properties": {"city": "str"}}},
            r"parameters\.properties\.city is a str",
        ),
        ({"name": "f", "parameters": {"type": "object", "required": "city"}}, r"parameters\.required is a str"),
        (
            {"name": "f", "parameters": {"properties": {"a": {"enum": [1, {2}]}}}},
            r"parameters\.properties\.a\.enum\[1\] is a set",
        ),
        ({"name": "f", "parameters": {"type": "object", "x": float("nan")}}, r"parameters\.x is a float \(nan\)"),
        ({"name": "f", "parameters": {"type": "object", 3: 4}}, "a key of parameters is a int"),
        (Tool("f", parameters={"type": "array"}), r"parameters\.type"),
        (Tool(""), "0 characters"),
        (lambda: None, "a lambda was given as a tool"),
        (Nameless(), "has no name"),
        (Undocumented, "'Undocumented' was given as a tool but has no docstring"),
    ],
)
def test_what_is_no_tool_is_refused_with_its_reason(obj: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_tool(obj)


def test_the_longest_name_is_accepted() -> None:
    assert as_tool({"name": "x" * 256}).name == "x" * 256


def test_a_schema_without_end_is_refused() -> None:
    endless: dict[str, Any] = {"type": "object"}
    endless["properties"] = {"again": endless}
    with pytest.raises(InputError, match="nested deeper than 64"):
        as_tool({"name": "f", "parameters": endless})


def test_the_openai_schema_of_any_tool_is_json() -> None:
    schema = tool_schema(as_tool(FakeMcpTool()))
    assert json.loads(json.dumps(schema)) == {
        "type": "function",
        "function": {"name": "get_weather", "description": "Forecast for a city.", "parameters": WEATHER_SCHEMA},
    }


def test_real_langchain_tools() -> None:
    tools = pytest.importorskip("langchain_core.tools")

    def weather(city: str, token: Any, days: int = 3) -> str:
        """Forecast for a city."""
        return f"{city}{token}{days}"

    weather.__annotations__["token"] = Annotated[str, tools.InjectedToolArg]
    made = tools.tool(weather)
    tool = as_tool(made)
    assert tool.original is made
    assert tool_text(tool) == (
        "weather: Forecast for a city.\nparameters:\n- city (string, required)\n- days (integer, optional, default 3)"
    )
    assert "description" not in tool.parameters
    old = tools.Tool(name="old", func=len, description="Length.")
    assert as_tool(old).name == "old"
    assert list(as_tool(old).parameters["properties"]) == ["tool_input"]
    by_dict = tools.StructuredTool(name="s", description="d", args_schema=WEATHER_SCHEMA, func=weather)
    assert as_tool(by_dict).parameters == WEATHER_SCHEMA
    with pytest.raises(InputError, match="pass an instance"):
        as_tool(tools.StructuredTool)


def test_a_real_langchain_tool_with_an_argument_json_cannot_say_keeps_its_name() -> None:
    tools = pytest.importorskip("langchain_core.tools")

    def apply(function: Callable[[int], int], count: int) -> int:
        """Apply a function."""
        return function(count)

    try:
        tool = as_tool(tools.tool(apply))
    except InputError as error:
        pytest.fail(f"lost over one argument: {error}")
    assert tool.name == "apply"


def test_real_llama_index_tools() -> None:
    tools = pytest.importorskip("llama_index.core.tools")
    made = tools.FunctionTool.from_defaults(get_weather, name="get_weather", description="Forecast for a city.")
    tool = as_tool(made)
    assert tool.original is made
    assert (tool.name, tool.description) == ("get_weather", "Forecast for a city.")
    assert set(tool.parameters["properties"]) == {"city", "days"}
    assert tool.parameters["required"] == ["city"]


def test_reading_tools_imports_no_framework() -> None:
    script = (
        "import sys\n"
        "from rag_embedder.tool_schema import as_tool, tool_text\n"
        "tool_text(as_tool(len)); tool_text(as_tool({'name': 'x', 'inputSchema': {'type': 'object'}}))\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in "
        "('langchain_core', 'langchain', 'llama_index', 'mcp', 'pydantic', 'torch')]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
