import subprocess
import sys
from pathlib import Path

import pytest

import trainer
from rag_embedder.errors import ConfigError
from trainer.losses import LOSSES, LossSettings


def test_the_defaults_are_those_of_the_papers():
    settings = LossSettings()
    assert settings.weights == {"contrastive": 1.0}
    assert (settings.student_temperature, settings.reward_temperature, settings.ties) == (0.01, 1.0, "exclude")
    assert not settings.pin_positive
    assert settings.in_batch_negatives


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_of_the_registry_is_a_function_of_its_name(name):
    assert LOSSES[name].__name__ == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"contrastiv": 1.0}}, r"unknown loss 'contrastiv'.*mean 'contrastive'"),
        ({"weights": {"contrastive": -1.0}}, r"weight of loss 'contrastive' is -1.0; expected a number, 0 or above"),
        ({"weights": {"contrastive": float("nan")}}, r"weight of loss 'contrastive' is nan"),
        ({"weights": {"contrastive": "1"}}, r"weight of loss 'contrastive' is '1'"),
        ({"weights": {"contrastive": 0}}, r"no loss has a weight above 0"),
        (
            {"weights": {}},
            r"no loss has a weight above 0 in \{\}; give at least one of: contrastive, cross_entropy, kl_dist",
        ),
        ({"student_temperature": 0.0}, r"student_temperature is 0.0; expected a number above 0"),
        ({"reward_temperature": -1}, r"reward_temperature is -1; expected"),
        ({"reward_temperature": True}, r"reward_temperature is True"),
        ({"ties": "excluded"}, r"unknown ties 'excluded'; expected one of: exclude, order. Did you mean 'exclude'"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        LossSettings(**options)


@pytest.mark.parametrize(
    ("weights", "needed"),
    [
        ({"contrastive": 1.0}, False),
        ({"contrastive": 1.0, "kl_distillation": 0.0}, False),
        ({"contrastive": 0.2, "kl_distillation": 1}, True),
        ({"graded_distillation": 1.0}, True),
    ],
)
def test_rewards_are_needed_by_what_distils(weights, needed):
    assert LossSettings(weights=weights).needs_rewards is needed


def test_settings_can_be_read_without_torch():
    code = "import sys, trainer.losses; trainer.losses.LossSettings(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(trainer.__file__).parent.parent)
