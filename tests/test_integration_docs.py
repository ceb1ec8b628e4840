"""Every Python block of docs/ runs as a reader would try it, and what the pages point at exists."""

import ast
import gc
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from rag_embedder import Embedder

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = ("langchain", "llama-index", "replacing")
FEATURES = (DOCS / "features.md").read_text(encoding="utf-8")
STATES = ("yes", "part", "not yet", "no")


def read(page):
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def run_page(page, capsys):
    """What each section printed, by its heading; all blocks run top to bottom in one namespace."""
    printed, namespace = {}, {"__name__": page}
    for section in re.split(r"^## ", read(page), flags=re.MULTILINE):
        heading = section.split("\n", 1)[0]
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL), start=1):
            exec(compile(block, f"{page}.md, {heading}, block {number}", "exec"), namespace)
            printed[heading] = printed.get(heading, "") + capsys.readouterr().out
    namespace.clear()
    gc.collect()  # here, where the warnings of LlamaIndex's open connections are expected
    return printed


@pytest.fixture
def as_a_reader(minilm, tmp_path, monkeypatch):
    """In an empty folder; the default is loaded once for all tests."""
    load = Embedder.load

    def shared(path=None, **options):
        return load(path, **options) if options.get("instructions") else minilm

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rag_embedder.encoder.Embedder.load", shared)


def test_the_langchain_page_runs_and_prints_what_it_says(as_a_reader, capsys):
    printed = run_page("langchain", capsys)
    assert printed["Embeddings"] == (
        "Oslo is the capital of Norway.\nWhich city governs Norway?\n2 vectors of one text: one for each role\n"
    )
    oslo, bread, tool = printed["Retriever"].splitlines()
    assert re.fullmatch(r"oslo 0\.\d+", oslo)
    assert re.fullmatch(r"bread 0\.\d+", bread)
    assert tool == "Bread is baked from flour, water and yeast. | bread"
    assert printed["Chats, without a rewrite"] == (
        "oslo\nTell me about Norway. Gladly, ask me. And what is its capital?\n"
    )
    assert printed["Reranker"] == "bread ['rerank_score', 'score']\n"
    assert printed["A vector store as index"] == "Oslo is the capital of Norway.\n1 0\n0 1\n"
    assert printed["Examples in a prompt"].endswith("Human: A warm, funny and clever film.\nAI: positive\n")
    assert printed["The tools an agent needs"] == (
        "['forecast', 'ask_human'] It will rain.\n['book_train'] book_train did: Oslo to Bergen\n"
    )
    assert printed["Long-term memory"] == "True\nFalse\n"
    assert printed["LangGraph stores"] == "1\n"
    assert printed["langgraph-bigtool"].startswith("['forecast', ")
    assert printed["Async"] == "['oslo', 'stockholm', 'bread']\n"
    audit = printed["Are the roles kept?"]
    assert audit.startswith("False\nInMemoryStore (LangGraph store): NOT SAFE\n  queries are encoded as: document\n")
    assert audit.endswith("True True\n")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")  # agents look at their own fields
@pytest.mark.filterwarnings("ignore:.*was deleted before being closed:ResourceWarning")  # by `Memory`
def test_the_llama_index_page_runs_and_prints_what_it_says(as_a_reader, monkeypatch, capsys):
    from llama_index.core import Settings

    monkeypatch.setattr(Settings, "_embed_model", None)  # the page sets one
    printed = run_page("llama-index", capsys)
    assert printed["Embed model"] == ("oslo\nWhich city governs Norway?\nTrue\n")
    assert printed["Ingestion"] == "1 new; 0 the second time\n"
    assert printed["A persisted index"].startswith(
        "index: it asks with 'default' in scenario 'qa'; expected 'default' in scenario 'tool', "
    )
    first, second, filtered = printed["Retriever"].splitlines()
    assert re.fullmatch(r"oslo 0\.\d+", first)
    assert re.fullmatch(r"stockholm 0\.\d+", second)
    assert filtered == "['oslo', 'bread']"
    assert printed["Chat engines, without a rewrite"] == "oslo after 2 calls for 2 turns\n"
    assert printed["Reranker"] == "bread True 2\n"
    assert printed["The tools an agent needs"] == "It will rain. ('forecast', 'ask_human')\n"
    before, after, anns, bobs = printed["Long-term memory"].splitlines()
    assert (before, after) == ("0 before", "1 after")
    assert "user: My daughter Ida is allergic to hazelnuts." in anns
    assert bobs == "''"
    assert printed["Async"] == "['oslo', 'stockholm', 'bread']\n"
    assert printed["Are the roles kept?"].startswith("VectorStoreIndex (LlamaIndex index): safe\n")
    assert printed["Are the roles kept?"].endswith("True True True\n")


@pytest.mark.filterwarnings("ignore:.*was deleted before being closed:ResourceWarning")  # by `Memory`
def test_what_the_page_on_replacing_puts_in_the_place_of_others_runs(as_a_reader, capsys):
    printed = run_page("replacing", capsys)
    assert printed["HuggingFaceEmbeddings"] == ("384 What is in the contract?\n")
    assert printed["CacheBackedEmbeddings"] == "True 2\n"
    assert printed["SemanticSimilarityExampleSelector"] == "['The soup was cold.', 'A warm and funny film.']\n"
    assert printed["LLMToolSelectorMiddleware"] == "['forecast', 'ask_human']\n"
    assert printed["create_history_aware_retriever"] == "oslo\n"
    assert printed["SqliteStore and PostgresStore of LangGraph"] == "1\n"
    assert "user: I am allergic to hazelnuts." in printed["VectorMemoryBlock"]
    assert printed["ObjectIndex"] == "forecast\n"


def imports_before():
    """Module and name of each import in the blocks "before", which are not run."""
    for block in re.findall(r"```py\n(.*?)```", read("replacing"), flags=re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize(("module", "name"), list(imports_before()))
def test_what_is_replaced_is_called_what_the_page_calls_it(module, name):
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    assert hasattr(pytest.importorskip(module), name)


@pytest.mark.parametrize("page", PAGES)
def test_every_section_that_a_page_points_at_is_there(page):
    text = read(page)
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    there = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= there


@pytest.mark.parametrize("page", PAGES)
def test_conformance_suites_and_examples_that_a_page_names_exist(page):
    rows = re.findall(r"^\| `(\w+)\.(\w+`(?:, `\w+`)*) \|", read(page), re.MULTILINE)
    for module, names in rows:
        source = (ROOT / "integrations" / "conformance" / f"{module}.py").read_text(encoding="utf-8")
        classes = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
        assert set(re.findall(r"\w+", names)) <= classes
    for path in re.findall(r"`(examples/\w+\.py)`", read(page)):
        assert (ROOT / path).exists()


def feature_rows():
    rows = [line.strip("| \n").split("|") for line in FEATURES.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if row[0].strip() != "feature"]


def test_every_feature_that_is_there_names_its_tests():
    rows = feature_rows()
    assert len(rows) > 35
    for feature, state, *rest in rows:
        assert state in STATES, feature
        assert bool(rest and "::" in rest[-1]) == (state in ("yes", "part")), feature


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/]+\.py)::", FEATURES))))
def test_every_test_that_a_feature_names_exists(path):
    named = set(re.findall(rf"`{re.escape(path)}::(\w+)`", FEATURES))
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert named - there == set()


def test_every_package_of_the_wheel_is_marked_as_typed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [package for package in packages if not (ROOT / package / "py.typed").exists()] == []
