"""Turns in whatever form a framework has them, and histories that are passed again."""

from types import SimpleNamespace

import pytest

from rag_embedder.errors import InputError
from rag_embedder.retrievers.turns import as_turns, continued
from rag_embedder.types import Turn

U, A = (lambda text: Turn("user", text)), (lambda text: Turn("assistant", text))


def test_messages_of_langchain_are_turns():
    messages = pytest.importorskip("langchain_core.messages")
    given = [
        messages.SystemMessage("be kind"),
        messages.HumanMessage("hello"),
        messages.AIMessage([{"type": "text", "text": "good"}, {"type": "image"}, {"type": "text", "text": "day"}]),
    ]
    assert as_turns(given) == [Turn("system", "be kind"), U("hello"), A("good\nday")]


def test_messages_of_llama_index_are_turns():
    llms = pytest.importorskip("llama_index.core.llms")
    given = [llms.ChatMessage(role="user", content="hello"), llms.ChatMessage(role="assistant", content="hi")]
    assert as_turns(given) == [U("hello"), A("hi")]


def test_unknown_message_types_are_refused_by_name():
    with pytest.raises(InputError, match=r"turns\[0\]\.role: got 'function'"):
        as_turns([SimpleNamespace(type="function", content="x")])


@pytest.mark.parametrize(
    ("stored", "given", "expected"),
    [
        ([], [[U("a"), A("b")]], ([], [[U("a"), A("b")]])),
        # the whole history again, and one more
        ([[U("a"), A("b")]], [[U("a"), A("b")], [U("c")]], ([], [[U("c")]])),
        # the whole history again, with the reply that was missing
        ([[U("a"), A("b")], [U("c")]], [[U("a"), A("b")], [U("c"), A("d")]], ([U("c"), A("d")], [])),
        # nothing new
        ([[U("a"), A("b")]], [[U("a"), A("b")]], ([], [])),
        # a window of the history: two memories or more in common
        ([[U("x")], [U("a")], [U("b")]], [[U("a")], [U("b")], [U("c")]], ([], [[U("c")]])),
        # one in common is no proof: people say "yes" twice
        ([[U("x")], [U("yes")]], [[U("yes")], [U("c")]], ([], [[U("yes")], [U("c")]])),
        # a reply alone completes the last
        ([[U("x")], [U("a")]], [[A("b")], [U("c")]], ([U("a"), A("b")], [[U("c")]])),
        ([[U("a")]], [[U("b")]], ([], [[U("b")]])),
    ],
)
def test_what_a_call_adds_to_a_session(stored, given, expected):
    assert continued(stored, given) == expected
