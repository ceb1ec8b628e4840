import pytest
import torch

from rag_embedder.errors import InputError
from tests.trainer.losses.loss_cases import random_batch, vector_batch
from trainer.losses import LOSSES, LossSettings
from trainer.losses.weighted_sum import weighted_loss


def test_the_losses_are_added_with_their_weights():
    options = LossSettings(weights={"contrastive": 0.2, "kl_distillation": 1.0}, reward_temperature=0.1)
    output = weighted_loss(*vector_batch(), options=options)
    assert output.loss.item() == pytest.approx(0.2 * 0.507022 + 0.305360, abs=1e-5)
    assert output.rows.mean().item() == pytest.approx(output.loss.item())
    assert {name: part.item() for name, part in output.parts.items()} == {
        "contrastive": pytest.approx(0.507022, abs=1e-5),
        "kl_distillation": pytest.approx(0.305360, abs=1e-5),
    }


def test_a_weight_counts_also_when_it_is_the_only_one():
    output = weighted_loss(*vector_batch(), options=LossSettings(weights={"contrastive": 0.25}))
    assert output.loss.item() == pytest.approx(0.25 * 0.507022, abs=1e-5)


def test_the_gradient_is_the_weighted_sum_of_the_gradients():
    weights = {"contrastive": 0.5, "stabilized_distillation": 2.0, "graded_distillation": 0.0}
    scores, own, rewards, mask = random_batch(1)
    weighted_loss(scores.requires_grad_(), own, rewards, mask, options=LossSettings(weights=weights)).loss.backward()
    expected = torch.zeros_like(scores)
    for name, weight in weights.items():
        leaf = scores.detach().clone().requires_grad_()
        LOSSES[name](leaf, own, rewards, mask).loss.backward()
        expected += weight * leaf.grad
    torch.testing.assert_close(scores.grad, expected)


def test_a_loss_of_weight_zero_is_not_computed():
    scores, own, _, mask = vector_batch()
    options = LossSettings(weights={"contrastive": 1.0, "kl_distillation": 0.0})
    assert list(weighted_loss(scores, own, None, mask, options=options).parts) == ["contrastive"]


def test_the_temperatures_and_ties_reach_the_loss():
    batch = random_batch(2, integer_rewards=True)
    options = LossSettings(weights={"graded_distillation": 1.0}, ties="order", reward_temperature=0.5)
    expected = LOSSES["graded_distillation"](*batch, options=options).loss
    torch.testing.assert_close(weighted_loss(*batch, options=options).loss, expected)
    assert expected != weighted_loss(*batch, options=LossSettings(weights={"graded_distillation": 1.0})).loss


def test_without_in_batch_negatives_only_own_candidates_count():
    options = LossSettings(weights={"stabilized_distillation": 1.0}, in_batch_negatives=False)
    output = weighted_loss(*vector_batch(), options=options)
    assert output.loss.item() == pytest.approx(0.047980, abs=1e-5)


def test_without_in_batch_negatives_a_copied_candidate_stays_out():
    scores, own, rewards, mask = vector_batch()
    mask[0, 1] = False
    options = LossSettings(in_batch_negatives=False)
    expected = torch.logsumexp(scores[0, [0, 2]], 0) - scores[0, 0]
    torch.testing.assert_close(weighted_loss(scores, own, rewards, mask, options=options).rows[0], expected)


def test_missing_rewards_are_refused():
    scores, own, _, mask = vector_batch()
    with pytest.raises(InputError, match="graded_distillation needs rewards"):
        weighted_loss(scores, own, None, mask, options=LossSettings(weights={"graded_distillation": 1.0}))
