"""Prompts byte for byte, and templates that cannot be filled are refused."""

import pytest

from rag_embedder.errors import ConfigError
from trainer.examples import Example
from trainer.templates import TEMPLATES, Template, find_template, read_template

EXAMPLE = Example(id="q", query=" who ? ", candidates=())
FILLED = {
    "qa": ("Knowledge: a b\n\nQuestion: who ?\n\nAnswer:", "Question: who ?\n\nAnswer:", " x"),
    "convsearch": ("Knowledge: a b\n\nQuestion: who ?\n\nAnswer:", "Question: who ?\n\nAnswer:", " x"),
    "chat": ("a b\nSpeaker 1: who ?\nSpeaker 2:", "Speaker 1: who ?\nSpeaker 2:", " x"),
    "icl": ("a b\nwho ?\n", "who ?\n", "x"),
    "lrlm": (" a b  c who ? ", " who ? ", " x\n"),
    "tool": ("Tool: a b\n\nRequest: who ?\n\nCall:", "Request: who ?\n\nCall:", " x"),
    "qa-paper": ("Knowledge:\na b\n\nQ: who ? A:", "Q: who ? A:", " x"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_byte_for_byte(name):
    template = find_template(name if name != "qa-paper" else "qa", name if name == "qa-paper" else None)
    made = template.with_candidate(EXAMPLE, " a b ", " c"), template.alone(EXAMPLE), template.output(" x\n")
    assert made == FILLED[name]


def test_the_prompt_is_asked_where_there_is_one():
    example = Example(id="q", query="short", prompt="the long one", candidates=())
    assert TEMPLATES["icl"].alone(example) == "the long one\n"


def test_braces_in_texts_are_texts():
    example = Example(id="q", query="{candidate} {0}", candidates=())
    assert TEMPLATES["icl"].with_candidate(example, "{query}") == "{query}\n{candidate} {0}\n"


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("{candidate}", r"context has the fields \['candidate'\]; expected \['candidate', 'query'\]"),
        ("{candidate} {query} {title}", "title"),
        ("{candidate.__class__} {candidate} {query}", "fields"),
        ("{candidate!r} {query}", "without formats"),
        ("{candidate:>9} {query}", "without formats"),
        ("{candidate} {query", "cannot be read"),
    ],
)
def test_a_template_names_exactly_what_it_is_filled_with(context, message):
    with pytest.raises(ConfigError, match=message):
        Template(context=context, without_candidate="{query}")


def test_a_template_of_ones_own_is_read_from_toml(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('context = "{candidate}|{query}|"\nwithout_candidate = "{query}|"\nstop = ["|"]\nstrip = false\n')
    template = find_template("tool", str(path))
    assert template == Template(
        context="{candidate}|{query}|", without_candidate="{query}|", stop=("|",), strip=False, answer=" {answer}"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("contxt = 'x'", "own.toml: unknown key 'contxt'.*mean 'context'"),
        ("strip = 1", "own.toml: strip is int; expected bool"),
        ("context = '{candidate} {query}'", "own.toml: without_candidate missing"),
        ("context = '{query}'\nwithout_candidate = '{query}'", "own.toml: template: context has the fields"),
        ("context = '{candidate} {query}'\nwithout_candidate = '{query}'\nstop = [1]", "stop holds something else"),
        ("context = ", "own.toml: cannot read this template"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path, content, message):
    path = tmp_path / "own.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_template(path)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown scenario 'qaa'.*mean 'qa'"):
        find_template("qaa")
    with pytest.raises(ConfigError, match=r"unknown template 'qa-papr'.*mean 'qa-paper'"):
        find_template("qa", "qa-papr")
