"""What users of the registries call is there in every line; tests/test_registries.py looks where each leads."""

import inspect

import pytest

from trainer.losses import LOSSES
from trainer.rewards import REWARDS


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_is_called_alike(name):
    parameters = inspect.signature(LOSSES[name]).parameters
    assert list(parameters) == ["scores", "own", "rewards", "mask", "options"]


@pytest.mark.parametrize("name", list(REWARDS))
def test_every_reward_has_what_scoring_asks_of_it(name):
    assert all(hasattr(REWARDS[name], asked) for asked in ("build", "settings", "check", "rewards"))
