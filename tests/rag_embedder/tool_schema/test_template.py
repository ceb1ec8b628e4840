"""The text that is embedded for a tool."""

import importlib

from rag_embedder.tool_schema import tool_text
from rag_embedder.types import Tool


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


def test_the_template_in_the_documentation_is_the_one_used() -> None:
    documented = importlib.import_module("rag_embedder.tool_schema.template").__doc__ or ""
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
