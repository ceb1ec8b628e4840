"""Importing the adapters' packages is cheap; a framework comes with the first name that needs it."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import integrations

ROOT = Path(integrations.__file__).parent.parent
PACKAGES = ["integrations", "integrations.langchain", "integrations.llama_index"]
FRAMEWORKS = {"langchain", "langchain_core", "langgraph", "llama_index", "torch", "transformers", "chromadb"}

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported_by(statement):
    """The frameworks that are there afterwards, in a fresh interpreter."""
    code = (
        f"import json, sys\n{statement}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    return FRAMEWORKS & set(json.loads(run(code)))


@pytest.mark.parametrize(
    "statement",
    [
        *(f"import {package}" for package in PACKAGES),
        "from integrations import audit_roles, aaudit_roles, RoleAudit",
        "import integrations.audit; print(integrations.audit.KINDS, file=sys.stderr)",
        "import integrations.langchain as a, integrations.llama_index as b; dir(a), dir(b)",
        "from integrations import audit_roles\ntry: audit_roles({})\nexcept ValueError: pass",
    ],
)
def test_importing_brings_no_framework(statement):
    assert imported_by(statement) == set()


def test_the_check_sees_a_framework():
    assert "langchain_core" in imported_by("from integrations.langchain import RagEmbeddings")


def test_auditing_a_component_of_one_framework_does_not_bring_the_other():
    audit = """
from langchain_core.embeddings import DeterministicFakeEmbedding
from integrations import audit_roles
print(audit_roles(DeterministicFakeEmbedding(size=4)), file=sys.stderr)
"""
    assert imported_by(audit) == {"langchain_core"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    module = importlib.import_module(package)
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        found = getattr(module, name)
        assert found.__name__ == name
        assert found.__module__.startswith("integrations.")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there_is_refused_with_those_that_are(package):
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'Nothing'; it has: .*"):
        importlib.import_module(package).Nothing  # noqa: B018


@pytest.mark.parametrize(
    ("package", "wrong", "right"),
    [
        ("integrations.langchain", "RagEmbedings", "RagEmbeddings"),
        ("integrations.langchain", "ragretriever", "RagRetriever"),
        ("integrations.llama_index", "RagEmbeddings", "RagEmbedding"),
        ("integrations", "audit_role", "audit_roles"),
        ("rag_embedder", "Embeder", "Embedder"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_one(package, wrong, right):
    said = rf"^module '{package}' has no attribute '{wrong}'; it has: .*\. Did you mean '{right}'\?$"
    with pytest.raises(AttributeError, match=said):
        getattr(importlib.import_module(package), wrong)
    # Python replaces the message of an AttributeError here.
    with pytest.raises(ImportError, match=said):
        exec(f"from {package} import {wrong}")
    assert not hasattr(importlib.import_module(package), wrong)


def test_a_module_of_a_package_is_imported_by_its_name_as_ever():
    code = (
        "from integrations.langchain import examples, documents\n"
        "from integrations.llama_index import *\n"
        "print(examples.__name__, RagEmbedding.__name__)"
    )
    assert run(code) == "integrations.langchain.examples RagEmbedding\n"


@pytest.mark.parametrize(
    ("package", "name", "blocked", "message"),
    [
        ("langchain", "RagEmbeddings", {"langchain_core"}, 'langchain_core; pip install "rag-embedder[langchain]"'),
        ("langchain", "RagMemoryMiddleware", {"langchain"}, 'langchain; pip install "rag-embedder[langchain-agents]"'),
        ("langchain", "role_aware", {"langgraph"}, 'langgraph; pip install "rag-embedder[langchain-agents]"'),
        ("llama_index", "RagEmbedding", {"llama_index"}, 'llama_index; pip install "rag-embedder[llama-index]"'),
    ],
)
def test_a_missing_framework_is_named_with_the_pip_line(package, name, blocked, message):
    code = BLOCKED.format(blocked=blocked) + (
        f"import integrations.{package}\n"
        "from rag_embedder.errors import MissingExtraError\n"
        f"try: integrations.{package}.{name}\n"
        "except MissingExtraError as error: print(error)\n"
    )
    assert run(code) == f"integrations.{package}.{name} needs {message}\n"


def test_without_any_framework_our_own_parts_are_audited():
    code = BLOCKED.format(blocked=FRAMEWORKS - {"torch", "transformers"}) + (
        "from integrations import audit_roles\n"
        "from tests.retriever_cases import WordEncoder\n"
        "print(audit_roles(WordEncoder()).is_safe)\n"
    )
    assert run(code) == "True\n"
