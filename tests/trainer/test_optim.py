"""The optimiser's groups, the schedule, the self-paced rate and the weight average, worked by hand."""

import math

import pytest
import torch
from torch import nn

from rag_embedder.errors import ConfigError, InputError
from trainer.optim import SelfPacedRate, WeightAverage, linear_schedule, make_adamw, set_learning_rate


def layer():
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))


def test_matrices_are_decayed_and_vectors_are_not():
    model = layer()
    decayed, rest = make_adamw(model, learning_rate=0.1, weight_decay=0.5).param_groups
    assert [parameter.shape for parameter in decayed["params"]] == [(2, 3)]
    assert [parameter.shape for parameter in rest["params"]] == [(2,), (2,), (2,)]
    assert (decayed["weight_decay"], rest["weight_decay"], decayed["lr"]) == (0.5, 0.0, 0.1)


def test_a_step_without_gradient_only_decays():
    model = layer()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_adamw(model, learning_rate=0.1, weight_decay=0.5).step()
    after = list(model.parameters())
    torch.testing.assert_close(after[0], before[0] * (1 - 0.1 * 0.5))
    assert all(torch.equal(new, old) for new, old in zip(after[1:], before[1:], strict=True))


def test_frozen_weights_are_left_out():
    model = layer()
    model[0].requires_grad_(False)
    (group,) = make_adamw(model, learning_rate=0.1, weight_decay=0.5).param_groups
    assert len(group["params"]) == 2
    model[1].requires_grad_(False)
    with pytest.raises(ConfigError, match="no trainable weight"):
        make_adamw(model, learning_rate=0.1, weight_decay=0.5)


def test_the_rate_goes_up_and_down_in_straight_lines():
    factors = [linear_schedule(step, steps=10, warmup=0.2) for step in range(11)]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])


@pytest.mark.parametrize(
    ("steps", "warmup", "expected"),
    [(1, 0.2, [1]), (2, 0.99, [0.5, 1]), (4, 0, [1, 0.75, 0.5, 0.25]), (3, 0.34, [0.5, 1, 0.5])],
)
def test_short_runs_train_at_every_step(steps, warmup, expected):
    assert [linear_schedule(step, steps=steps, warmup=warmup) for step in range(steps)] == pytest.approx(expected)


def test_every_group_gets_the_rate():
    optimizer = make_adamw(layer(), learning_rate=0.1, weight_decay=0.5)
    set_learning_rate(optimizer, 0.3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3]


def test_the_self_paced_rate_is_the_root_of_the_ratio_to_the_stored_loss():
    pace = SelfPacedRate(decay=0.5, refresh_every=4)
    pace.observe("qa", 4.0, step=0)  # 4
    pace.observe("tool", 2.0, step=1)  # 2
    pace.observe("qa", 2.0, step=2)  # 3
    assert (pace.factor("qa"), pace.factor("tool")) == (1.0, 1.0)
    pace.observe("qa", 1.0, step=3)  # 2, and both are stored
    assert (pace.factor("qa"), pace.factor("tool")) == (1.0, 1.0)
    pace.observe("qa", 1.0, step=4)  # 1.5
    pace.observe("tool", 4.0, step=5)  # 3
    assert pace.factor("qa") == pytest.approx(math.sqrt(1.5 / 2))
    assert pace.factor("tool") == pytest.approx(math.sqrt(3 / 2))
    pace.observe("qa", 1.5, step=6)
    pace.observe("qa", 1.5, step=7)  # stored anew
    assert (pace.factor("qa"), pace.factor("tool")) == (1.0, 1.0)


def test_the_self_paced_rate_stays_within_its_bounds_and_starts_at_one():
    pace = SelfPacedRate(decay=0, refresh_every=2)
    pace.observe("qa", 1.0, step=1)
    pace.observe("qa", 100.0, step=2)
    assert pace.factor("qa") == 2.0
    pace.observe("qa", 0.01, step=4)
    assert pace.factor("qa") == 0.5
    pace.observe("new", 3.0, step=6)
    assert pace.factor("new") == pace.factor("unseen") == 1.0


def test_a_loss_of_nothing_gives_no_factor():
    pace = SelfPacedRate(decay=0, refresh_every=1)
    pace.observe("qa", -1e-9, step=0)
    assert pace.factor("qa") == 1.0


def test_the_self_paced_rate_continues_from_its_state():
    pace, other = SelfPacedRate(refresh_every=2), SelfPacedRate(refresh_every=2)
    for step, loss in enumerate([3.0, 2.0, 1.5]):
        pace.observe("qa", loss, step=step)
    other.load_state_dict(pace.state_dict())
    for each in (pace, other):
        each.observe("qa", 1.0, step=4)
    assert other.factor("qa") == pace.factor("qa") != 1.0


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_refused_and_changes_nothing(loss):
    pace = SelfPacedRate()
    pace.observe("qa", 1.0, step=0)
    before = pace.state_dict()
    with pytest.raises(InputError, match="loss of data set 'qa' at step 1"):
        pace.observe("qa", loss, step=1)
    assert pace.state_dict() == before


@pytest.mark.parametrize("settings", [{"decay": 1.0}, {"refresh_every": 0}, {"bounds": (1.5, 2.0)}])
def test_settings_of_the_self_paced_rate_are_checked(settings):
    with pytest.raises(ConfigError, match="self-paced rate"):
        SelfPacedRate(**settings)


def test_the_weight_average_worked_by_hand():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    average = WeightAverage(model, decay=0.25)
    model.weight.data.fill_(2.0)
    average.update(model)  # decay 2/11: 2/11 + 2 * 9/11 = 20/11
    model.weight.data.fill_(4.0)
    average.update(model)  # decay 1/4, the limit 3/12: 5/11 + 3 = 38/11
    average.swap(model)
    assert model.weight.item() == pytest.approx(38 / 11)
    average.swap(model)
    assert model.weight.item() == 4.0


def test_the_weight_average_keeps_float32_of_trained_weights_and_continues_from_its_state():
    model = layer().to(torch.bfloat16)
    model[1].requires_grad_(False)
    average = WeightAverage(model, decay=0.9)
    average.update(model)
    state = average.state_dict()
    assert {name: weights.dtype for name, weights in state["weights"].items()} == {
        "0.weight": torch.float32,
        "0.bias": torch.float32,
    }
    other = WeightAverage(layer().requires_grad_(False), decay=0.9)
    assert other.state_dict()["weights"] == {}
    changed = layer().to(torch.bfloat16)
    changed[1].requires_grad_(False)
    other = WeightAverage(changed, decay=0.9)
    other.load_state_dict(state)
    for each in (average, other):
        each.update(changed)
    torch.testing.assert_close(other.state_dict(), average.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("decay", [0.0, 1.0, math.nan])
def test_the_decay_of_the_weight_average_is_checked(decay):
    with pytest.raises(ConfigError, match="decay of the weight average"):
        WeightAverage(layer(), decay=decay)
