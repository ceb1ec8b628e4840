"""Every line of every registry of the trainer leads somewhere, and to what its users call."""

import ast
import inspect
from pathlib import Path

import pytest

import trainer
from rag_embedder.errors import ConfigError
from trainer.losses import LOSSES
from trainer.mining.queries import KINDS
from trainer.rewards import REWARDS

REGISTRIES = {
    "trainer.losses.LOSSES": LOSSES,
    "trainer.mining.queries.KINDS": KINDS,
    "trainer.rewards.REWARDS": REWARDS,
}
LINES = [(path, name) for path, registry in REGISTRIES.items() for name in registry]


def registries_in_source():
    """Dotted names of the module-level names that a `Registry(...)` call is assigned to."""
    root = Path(trainer.__file__).parent
    found = set()
    for file in root.rglob("*.py"):
        module = ".".join(file.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            value = getattr(node, "value", None)
            if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Registry":
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(f"{module}.{target.id}" for target in targets)
    return found


def test_every_registry_of_the_trainer_is_tested_here():
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


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_is_called_alike(name):
    parameters = inspect.signature(LOSSES[name]).parameters
    assert list(parameters) == ["scores", "own", "rewards", "mask", "options"]


@pytest.mark.parametrize("name", list(REWARDS))
def test_every_reward_has_what_scoring_asks_of_it(name):
    assert all(hasattr(REWARDS[name], asked) for asked in ("build", "settings", "check", "rewards"))
