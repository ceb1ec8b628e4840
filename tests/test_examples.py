"""The examples run as their README says, offline, each as a program of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("langchain.agents", reason="needs the extra langchain-agents")

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

WITHOUT = """
import runpy, sys
sys.modules["langchain.agents"] = None
sys.argv = [sys.argv[1]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments, cwd, fails=False, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **variables}
    if "RAG_EXAMPLE_MODEL" not in variables:
        environment.pop("RAG_EXAMPLE_MODEL", None)
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_of_500_tools_the_model_is_shown_the_one_each_request_needs(tmp_path):
    said = run(EXAMPLES / "tools_agent.py", cwd=tmp_path)
    first, *requests = said.split("\n> ")
    count, tokens = map(int, re.findall(r"\d+", first))
    assert count == 500
    for request, answer in zip(
        requests,
        [
            "approve_expense_report answered: expense report 2031: approve",
            "audit_server answered: server db-3: audit",
            "translate_newsletter answered: newsletter May: translate into Norwegian",
        ],
        strict=True,
    ):
        assert answer in request
        assert f"the model: Done. {answer.partition(': ')[2]}" in request
        shown = re.search(r"shown: (.*)", request).group(1).split(", ")
        assert len(shown) == 8
        assert answer.split()[0] in shown
        sent, saved = map(int, re.search(r"schema tokens: (\d+), saved: (\d+)", request).groups())
        assert sent + saved == tokens
        assert saved > 0.97 * tokens


def test_in_the_second_run_each_user_is_reminded_of_their_own_words_only(tmp_path):
    program = [EXAMPLES / "memory_chat.py", "--folder", "kept"]
    first = run(*program, cwd=tmp_path)
    assert first.startswith("0 memories in kept\n")
    assert first.endswith("4 memories now: 2 of ann, 2 of bob\n")
    second = run(*program, cwd=tmp_path)
    assert second.startswith("4 memories in kept\n")
    ann, bob = re.findall(r"\n(?:ann|bob): .*\n((?:.+\n)+)", second)
    assert "    | user: My daughter Ida is allergic to hazelnuts.\n" in ann
    assert ann.endswith("model: I remember: My daughter Ida is allergic to hazelnuts.\n")
    assert bob.endswith("model: I remember: My daughter Mia loves hazelnuts, above all in chocolate.\n")
    assert "Mia" not in ann
    assert "Ida" not in bob


@pytest.mark.parametrize("name", ["tools_agent.py", "memory_chat.py"])
def test_each_says_what_it_does_and_what_it_lacks(name, tmp_path):
    said = run(EXAMPLES / name, "--help", cwd=tmp_path)
    assert "RAG_EXAMPLE_MODEL=" in said
    complaint = run("-c", WITHOUT, EXAMPLES / name, cwd=tmp_path, fails=True)
    assert complaint.endswith("This example needs: pip install 'rag-embedder[langchain-agents]'\n")
    assert len(complaint.splitlines()) == 1


def test_requests_of_ones_own_need_a_real_model_and_that_is_said(tmp_path):
    complaint = run(EXAMPLES / "tools_agent.py", "Book a flight.", cwd=tmp_path, fails=True)
    assert "set RAG_EXAMPLE_MODEL" in complaint


@pytest.mark.parametrize("name", ["tools_agent.py", "memory_chat.py"])
def test_one_variable_names_a_real_model(name, tmp_path):
    complaint = run(EXAMPLES / name, cwd=tmp_path, fails=True, RAG_EXAMPLE_MODEL="nobody:model")
    assert "nobody" in complaint


def test_the_readme_of_the_examples_names_programs_that_exist():
    named = re.findall(r"python (examples/\w+\.py)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert len(set(named)) == 2
    assert all((ROOT / path).exists() for path in named)
