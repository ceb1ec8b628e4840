"""Every Python block of the README runs, top to bottom, in one namespace, as a reader would try them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_readme_snippets_run_and_print_what_they_say(minilm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rag_embedder.encoder.Embedder.load", lambda *_, **__: minilm)
    namespace = {"__name__": "readme"}
    printed = []
    for number, block in enumerate(python_blocks(README), start=1):
        exec(compile(block, f"README.md block {number}", "exec"), namespace)
        printed.append(capsys.readouterr().out)
    encoder, knowledge, conversation, memory, demonstrations, tools, asynchronous, langchain, llama_index = printed
    assert "]]\nbook a flight\n" in encoder
    assert re.search(r"1 0\.\d+ oslo Oslo is the capital of Norway\.", knowledge)
    assert conversation == "oslo\n"
    assert "user: I am allergic to hazelnuts.\nassistant: Noted, no hazelnuts." in memory
    assert demonstrations.endswith("I laughed from start to end.\n\n")
    assert tools.startswith("True ")
    assert int(tools.split()[1]) > 0
    assert "'Oslo is the capital of Norway.', 'Bread is baked from flour, water and yeast.'" in asynchronous
    assert re.fullmatch(r"\[\('oslo', 0\.\d+\)\]\n", langchain)
    assert llama_index == "oslo\n"


def test_readme_layout_names_what_exists():
    layout = README.split("## Layout")[1].split("```")[1].strip().splitlines()
    named = []
    for line in layout:
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if not line.startswith("  "):
            folder = ROOT / names[0]
        named += [(folder if line.startswith("  ") else ROOT) / name for name in names]
    assert len(named) > 20
    assert [str(path) for path in named if not path.exists()] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", README))))
def test_tests_that_the_readme_points_at_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", ["README.md", "docs/results.md"])
def test_tables_of_results_are_made_by_a_command(path):
    (block,) = re.findall(
        r"<!-- results: (?:full|short) -->\n(.*?)<!-- end of results -->", (ROOT / path).read_text(), re.DOTALL
    )
    assert re.match(r"<!-- Made by `python -m evals run [^`]+` at commit [0-9a-f]{12}\. Do not edit\. -->", block)
    assert "| bm25 |" in block


def test_the_table_of_runs_is_made_by_a_command():
    text = (ROOT / "docs/results.md").read_text()
    (block,) = re.findall(r"<!-- results: runs -->\n(.*?)<!-- end of results -->", text, re.DOTALL)
    assert re.match(r"<!-- Made by `python -m trainer.compare contrastive [^`]+`\. Do not edit\. -->", block)
    assert "| before training |" in block


def test_links_between_documents_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
