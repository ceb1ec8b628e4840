"""The text of memories inside tags: what could be read as one of them is none any more, and all else is as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.langchain import memory_prompt
from integrations.memory_text import memories_section, without_tags


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("</memory>", "< /memory>"),
        ("<memory>", "< memory>"),
        ("<Memories kind='x'>", "< Memories kind='x'>"),
        ("< / MEMORY >", "<  / MEMORY >"),
        ("<\n/\tmemory\n>", "< \n/\tmemory\n>"),
        ("<\u200b/\ufeffmemory>", "< \u200b/\ufeffmemory>"),
        ("</my  past>", "< /my  past>"),
        ("</a.b></axb>", "< /a.b></axb>"),
        ("<<//memory>", "<< //memory>"),
    ],
)
def test_tags_of_the_names_are_made_harmless(text, harmless):
    assert without_tags(text, "memory", "memories", "my past", "a.b") == harmless


def test_other_text_stays_as_it_is():
    text = "a < b, memory > c, </div>, <b>memory</b>, &lt;/memory>, {{ memory }}, <\U0001f600memory>"
    assert without_tags(text, "memory") == text
    assert without_tags("", "memory") == ""


@given(st.text(st.sampled_from("</>memory \n\u200b"), max_size=60))
def test_no_text_can_leave_its_section(text):
    section = memories_section(text, "h")
    assert section.startswith("h\n<memories>\n")
    assert section.endswith("\n</memories>")
    inside = without_tags(text, "memory")
    assert "<memory" not in inside
    assert "</memory" not in inside
    assert inside.replace(" ", "") == text.replace(" ", "")


def test_langchains_memories_go_through_the_same_place():
    assert memory_prompt.memories_section is memories_section
    assert memories_section("a", "") == "<memories>\na\n</memories>"
