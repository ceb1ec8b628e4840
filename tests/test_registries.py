"""Every line of every registry in the package leads somewhere."""

import ast
from pathlib import Path

import pytest

import rag_embedder
from rag_embedder.engine import ENGINES
from rag_embedder.errors import ConfigError
from rag_embedder.index import INDEXES
from rag_embedder.registry import Registry
from trainer.losses import LOSSES
from trainer.mining.queries import KINDS
from trainer.model_kinds import MODEL_KINDS
from trainer.rewards import REWARDS

REGISTRIES = {
    "rag_embedder.engine.ENGINES": ENGINES,
    "rag_embedder.index.INDEXES": INDEXES,
    "trainer.losses.LOSSES": LOSSES,
    "trainer.mining.queries.KINDS": KINDS,
    "trainer.model_kinds.MODEL_KINDS": MODEL_KINDS,
    "trainer.rewards.REWARDS": REWARDS,
}
LINES = [(path, name) for path, registry in REGISTRIES.items() for name in registry]


def registries_in_source():
    """Dotted names of the module-level names that a `Registry(...)` call is assigned to."""
    root = Path(rag_embedder.__file__).parent.parent
    found = set()
    for file in (file for package in ("rag_embedder", "trainer") for file in (root / package).rglob("*.py")):
        module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            value = getattr(node, "value", None)
            if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Registry":
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(f"{module}.{target.id}" for target in targets)
    return found


def test_every_registry_is_tested_here():
    assert registries_in_source() == set(REGISTRIES)


@pytest.mark.parametrize(("path", "name"), LINES)
def test_every_line_resolves_to_a_class_or_function(path, name):
    assert callable(REGISTRIES[path][name])


@pytest.mark.parametrize("path", REGISTRIES)
def test_a_misspelt_name_is_answered_with_the_known_ones(path):
    registry = REGISTRIES[path]
    known = next(iter(registry))
    with pytest.raises(ConfigError, match=rf"unknown .*expected one of: {', '.join(registry)}.*mean '{known}'"):
        registry[known + "x"]


def test_a_line_that_leads_nowhere_fails_when_it_is_used_and_not_before():
    registry = Registry("thing", {"gone": "rag_embedder.nowhere:Nothing", "there": "rag_embedder.types:Hit"})
    assert list(registry) == ["gone", "there"]
    assert len(registry) == 2
    assert "gone" in registry
    assert "nowhere" not in registry
    assert registry["there"] is rag_embedder.Hit
    with pytest.raises(ModuleNotFoundError, match=r"nowhere"):
        registry["gone"]
