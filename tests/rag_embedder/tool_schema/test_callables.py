"""What a Python callable says about itself becomes name, description and JSON Schema."""

import enum
import functools
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from rag_embedder.tool_schema import as_tool, tool_schema, tool_text


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


def test_pydantic_models_describe_themselves() -> None:
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", size=(int, ...))
    order = pydantic.create_model("Order", __doc__="Place an order.", inner=(inner, ...), note=(str | None, None))
    tool = as_tool(order)
    assert tool_text(tool) == (
        "Order: Place an order.\nparameters:\n- inner (object {size: integer}, required)\n- note (string, optional)"
    )
    assert "$defs" not in tool.parameters
