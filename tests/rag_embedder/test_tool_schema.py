"""Tools of every framework become the same record, and the same text."""

import enum
import functools
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

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


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


class Address(TypedDict):
    street: str
    zip: NotRequired[str]


@dataclass
class Person:
    name: str
    age: int = 0


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


def test_annotations_become_json_schema() -> None:
    def plan(
        text: str,
        number: float,
        flag: bool,
        names: list[str],
        scores: dict[str, int],
        mode: Literal["fast", "slow"],
        unit: Unit,
        address: Address,
        person: Person,
        either: int | str,
        pair: tuple[int, int],
        anything: Any,
        note: Annotated[str | None, "A remark."] = None,
        level: Unit = Unit.CELSIUS,
        *rest: str,
        **options: str,
    ) -> None:
        """Plan."""

    schema = as_tool(plan).parameters
    assert schema["properties"] == {
        "text": {"type": "string"},
        "number": {"type": "number"},
        "flag": {"type": "boolean"},
        "names": {"type": "array", "items": {"type": "string"}},
        "scores": {"type": "object", "additionalProperties": {"type": "integer"}},
        "mode": {"type": "string", "enum": ["fast", "slow"]},
        "unit": {"type": "string", "enum": ["c", "f"]},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "zip": {"type": "string"}},
            "required": ["street"],
        },
        "person": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name"],
        },
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "pair": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "anything": {},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "A remark.", "default": None},
        "level": {"type": "string", "enum": ["c", "f"], "default": "c"},
    }
    assert schema["required"] == list(schema["properties"])[:12]


def test_annotations_written_as_text_are_resolved() -> None:
    def lookup(person: "Person", missing: "NotDefinedAnywhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        """Look up."""

    def count(size: "int") -> None:
        """Count."""

    assert as_tool(count).parameters["properties"]["size"] == {"type": "integer"}
    # one annotation that cannot be resolved must not lose the tool
    assert list(as_tool(lookup).parameters["properties"]) == ["person", "missing"]


def test_a_record_inside_itself_ends() -> None:
    @dataclass
    class Node:
        value: int
        children: "list[Node]"

    def walk(node: Node) -> None:
        """Walk."""

    assert as_tool(walk).parameters["properties"]["node"]["properties"]["value"] == {"type": "integer"}


NUMPY_DOC = """Forecast for a city.

    It looks a few days ahead.

    Parameters
    ----------
    city, town : str
        Name of the place,
        in English.
    days : int, optional
        How many.

    Returns
    -------
    str
        Text.
    """
SPHINX_DOC = """Forecast for a city.

    It looks a few days ahead.

    :param str city: Name of the place,
        in English.
    :param town: Name of the place, in English.
    :type city: str
    :param days: How many.
    :returns: Text.
    """
GOOGLE_DOC = """Forecast for a city.

    It looks a few days ahead.

    Args:
        city (str): Name of the place,
            in English.
        town: Name of the place, in English.

        days: How many.

    Returns:
        str: Text.
    """


@pytest.mark.parametrize("docstring", [NUMPY_DOC, SPHINX_DOC, GOOGLE_DOC], ids=["numpy", "sphinx", "google"])
def test_parameter_descriptions_are_read_from_the_docstring(docstring: str) -> None:
    def forecast(city: str, town: str, days: int) -> str:
        return f"{city}{town}{days}"

    forecast.__doc__ = docstring
    tool = as_tool(forecast)
    assert tool.description == "Forecast for a city.\n\nIt looks a few days ahead."
    described = {name: schema["description"] for name, schema in tool.parameters["properties"].items()}
    place = "Name of the place, in English."
    assert described == {"city": place, "town": place, "days": "How many."}


def test_methods_classes_instances_and_partials_are_callables_too() -> None:
    class Greeter:
        """Greets people."""

        def __init__(self, greeting: str) -> None:
            self.greeting = greeting

        def greet(self, who: str) -> str:
            """Say hello."""
            return f"{self.greeting} {who}"

    class Sender:
        """Sends mail."""

        name = "send_mail"

        def __call__(self, to: str) -> None:
            self.to = to

    def names(obj: object) -> tuple[str, str, list[str]]:
        tool = as_tool(obj)
        assert tool.original is obj
        return tool.name, tool.description, list(tool.parameters["properties"])

    assert names(Greeter("hi").greet) == ("greet", "Say hello.", ["who"])
    assert names(Greeter) == ("Greeter", "Greets people.", ["greeting"])
    assert names(Sender()) == ("send_mail", "Sends mail.", ["to"])
    assert names(functools.partial(get_weather, days=7)) == ("get_weather", "Forecast for a city.", ["city"])
    assert names(functools.partial(get_weather, "Oslo")) == ("get_weather", "Forecast for a city.", ["days"])
    assert names(len)[::2] == ("len", ["obj"])


def test_a_c_function_without_signature_is_accepted() -> None:
    tool = as_tool(max)
    assert tool.name == "max"
    assert tool_schema(tool)["function"]["parameters"] == {"type": "object", "properties": {}}


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


def test_the_text_follows_references_unions_choices_and_nesting() -> None:
    parameters = {
        "type": "object",
        "$defs": {
            "Unit": {"enum": ["c", "f", None]},
            "Node": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Node"}, "size": {"type": "integer"}}},
        },
        "properties": {
            "unit": {"$ref": "#/$defs/Unit", "description": "Scale\n  of the result."},
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "either": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]},
            "wrapped": {"allOf": [{"$ref": "#/$defs/Unit"}]},
            "kinds": {"type": ["string", "null"]},
            "fixed": {"const": "v1"},
            "place": {"type": "object", "properties": {"lat": {"type": "number"}, "any": {}}},
            "lost": {"$ref": "#/$defs/Nowhere"},
            "free": True,
            "tree": {"$ref": "#/$defs/Node"},
        },
        "required": ["unit", "place"],
    }
    text = tool_text(Tool("f", "", parameters))
    assert text.splitlines()[:10] == [
        "f",
        "parameters:",
        '- unit (one of "c", "f", required): Scale of the result.',
        "- limit (integer, optional)",
        "- either (string or array of number, optional)",
        '- wrapped (one of "c", "f", optional)',
        "- kinds (string, optional)",
        '- fixed ("v1", optional)',
        "- place (object {lat: number, any}, required)",
        "- lost (optional)",
    ]
    assert text.splitlines()[10] == "- free (optional)"
    inner = "object {child: object {child: object {child: object, size: integer}, size: integer}, size: integer}"
    assert text.splitlines()[11] == f"- tree ({inner}, optional)"


def test_references_in_a_circle_end() -> None:
    loop = {"type": "object", "$defs": {"A": {"$ref": "#/$defs/A"}}, "properties": {"a": {"$ref": "#/$defs/A"}}}
    assert tool_text(Tool("f", "", loop)) == "f\nparameters:\n- a (optional)"


def test_a_tool_without_parameters_is_one_line() -> None:
    assert tool_text(Tool("now", "Tell the\n\n  time.")) == "now: Tell the time."


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


def test_pydantic_models_describe_themselves() -> None:
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", size=(int, ...))
    order = pydantic.create_model("Order", __doc__="Place an order.", inner=(inner, ...), note=(str | None, None))
    tool = as_tool(order)
    assert tool_text(tool) == (
        "Order: Place an order.\nparameters:\n- inner (object {size: integer}, required)\n- note (string, optional)"
    )
    assert "$defs" not in tool.parameters


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


def test_the_template_in_the_documentation_is_the_one_used() -> None:
    documented = importlib.import_module("rag_embedder.tool_template").__doc__ or ""
    tool = Tool(
        "book_table",
        "Reserve a table in a restaurant.",
        {
            "type": "object",
            "properties": {
                "restaurant": {"type": "string", "description": "Name of the restaurant."},
                "guests": {"type": "integer", "default": 2, "description": "How many come."},
                "seating": {"enum": ["inside", "terrace"]},
                "contact": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "phone": {"type": "string"}},
                },
            },
            "required": ["restaurant", "contact"],
        },
    )
    for line in tool_text(tool).splitlines():
        assert line in documented
