"""Every loss: published definitions on hand-computed vectors, a plain loop, numeric gradients, and what is promised."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_embedder.errors import InputError
from tests.trainer.losses.loss_cases import (
    LOOPS,
    by_order,
    by_order_after_the_positive,
    contrastive_loop,
    distillation_loop,
    random_batch,
    vector_batch,
)
from trainer.losses import LOSSES, LossSettings
from trainer.losses.stabilized_distillation import ranked_after

DISTILLATIONS = [name for name in LOSSES if name not in ("contrastive", "cross_entropy")]
RANKED = ["stabilized_distillation", "graded_distillation"]


def test_the_scores_of_the_hand_computed_vectors():
    scores = vector_batch()[0]
    expected = [
        [9.704950, 7.001400, 1.078328, 2.407717, 5.121475, 9.878783],
        [1.078328, 7.001400, 2.156655, 9.630868, 7.682213, 1.097643],
    ]
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "reward_temperature", "rows", "mean"),
    [
        ("contrastive", 1.0, [0.818855, 0.195188], 0.507022),
        ("kl_distillation", 1.0, None, 1.303139),
        ("kl_distillation", 0.1, None, 0.305360),
        ("stabilized_distillation", 1.0, [1.650153, 1.987913], 1.819033),
        ("graded_distillation", 1.0, [1.650153, 1.987913], 1.819033),
    ],
)
def test_hand_computed_vectors(name, reward_temperature, rows, mean, dtype):
    output = LOSSES[name](*vector_batch(dtype), options=LossSettings(reward_temperature=reward_temperature))
    assert output.loss.item() == pytest.approx(mean, abs=1e-5)
    assert output.loss.item() == pytest.approx(output.rows.mean().item())
    if rows is not None:
        assert output.rows.tolist() == pytest.approx(rows, abs=1e-5)


@pytest.mark.parametrize("name", RANKED)
def test_hand_computed_vectors_without_other_queries_documents(name):
    scores, own, rewards, mask = vector_batch()
    rows = LOSSES[name](scores, own, rewards, torch.zeros_like(mask).scatter(1, own, True)).rows
    assert rows.tolist() == pytest.approx([0.046536, 0.049424], abs=1e-5)


def test_the_cross_entropy_form_of_the_paper_is_larger_by_the_entropy_of_the_rewards():
    scores, own, rewards, mask = vector_batch()
    for temperature, cross_entropy in ((1.0, 2.207715), (0.1, 0.721807)):
        weights = (rewards / temperature).softmax(dim=1)
        loss = LOSSES["kl_distillation"](
            scores, own, rewards, mask, options=LossSettings(reward_temperature=temperature)
        ).loss
        entropy = torch.special.entr(weights).sum(dim=1).mean()
        assert (loss + entropy).item() == pytest.approx(cross_entropy, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    group=st.integers(1, 6),
    others=st.integers(0, 5),
    integer_rewards=st.booleans(),
    temperature=st.sampled_from([0.1, 1.0, 3.0]),
)
@pytest.mark.parametrize("name", list(LOSSES))
def test_a_loss_equals_its_loop(name, seed, group, others, integer_rewards, temperature):
    batch = random_batch(seed, group=group, others=others, integer_rewards=integer_rewards)
    rows = LOSSES[name](*batch, options=LossSettings(reward_temperature=temperature)).rows
    assert rows.tolist() == pytest.approx(LOOPS[name](*batch, temperature=temperature), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "is_below"),
    [
        ("graded_distillation", LossSettings(ties="order"), by_order),
        ("stabilized_distillation", LossSettings(pin_positive=True), by_order_after_the_positive),
    ],
)
def test_the_other_orders_equal_their_loops(name, options, is_below):
    for seed in range(10):
        batch = random_batch(seed, integer_rewards=True)
        rows = LOSSES[name](*batch, options=options).rows.tolist()
        assert rows == pytest.approx(distillation_loop(*batch, is_below=is_below), abs=1e-9)
        assert rows != pytest.approx(LOSSES[name](*batch).rows.tolist(), abs=1e-6)


@pytest.mark.parametrize("ties", ["exclude", "order"])
@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_are_those_of_finite_differences(name, ties):
    for seed, integer_rewards in ((0, False), (1, True)):
        scores, own, rewards, mask = random_batch(seed, integer_rewards=integer_rewards)
        loss, options = LOSSES[name], LossSettings(ties=ties)
        assert torch.autograd.gradcheck(
            lambda s: loss(s, own, rewards, mask, options=options).rows,  # noqa: B023  (called at once)
            scores.requires_grad_(),
        )


@pytest.mark.parametrize("name", RANKED)
def test_gradients_equal_those_of_a_loop_over_slots_with_masks(name):
    scores, own, rewards, mask = random_batch(3)
    LOSSES[name](scores.requires_grad_(), own, rewards, mask).loss.backward()
    looped = scores.detach().clone().requires_grad_()
    kept = mask.gather(1, own)
    weights = rewards.masked_fill(~kept, -torch.inf).softmax(dim=1)
    total = torch.zeros((), dtype=torch.float64)
    for b in range(len(own)):
        hidden = ~mask[b]
        for i in sorted(range(own.shape[1]), key=lambda i: -rewards[b, i].item()):
            if kept[b, i]:
                logits = looped[b].masked_fill(hidden, -torch.inf)
                total = total - weights[b, i] * logits.log_softmax(dim=0)[own[b, i]]
                hidden = hidden.clone().index_fill(0, own[b, i], True)
    (total / len(own)).backward()
    torch.testing.assert_close(scores.grad, looped.grad)


@pytest.mark.parametrize("name", RANKED)
def test_one_hot_rewards_make_it_the_contrastive_loss(name):
    scores, own, rewards, mask = random_batch(5)
    one_hot = torch.zeros_like(rewards)
    one_hot[:, 0] = 1e4
    rows = LOSSES[name](scores, own, one_hot, mask).rows
    assert rows.tolist() == pytest.approx(contrastive_loop(scores, own, one_hot, mask), abs=1e-9)


def test_without_ties_graded_and_stabilized_distillation_are_one():
    batch = random_batch(7)
    stabilized = LOSSES["stabilized_distillation"](*batch).rows
    for ties in ("exclude", "order"):
        graded = LOSSES["graded_distillation"](*batch, options=LossSettings(ties=ties)).rows
        torch.testing.assert_close(graded, stabilized)


def test_with_equal_rewards_candidates_have_only_other_queries_documents_as_negatives():
    scores, own, _, mask = vector_batch()
    rows = LOSSES["graded_distillation"](scores, own, torch.full((2, 3), 2.0), mask).rows
    expected = []
    for b, foreign in enumerate((slice(3, 6), slice(0, 3))):
        terms = [torch.logaddexp(scores[b, foreign].logsumexp(0), scores[b, c]) - scores[b, c] for c in own[b]]
        expected.append(torch.stack(terms).mean())
    torch.testing.assert_close(rows, torch.stack(expected))
    # And alone in the batch there is nothing to learn.
    alone = torch.zeros_like(mask).scatter(1, own, True)
    assert LOSSES["graded_distillation"](scores, own, torch.full((2, 3), 2.0), alone).rows.abs().max() < 1e-12


def test_flat_rewards_still_pull_towards_the_given_order_where_kl_has_no_gradient():
    own = torch.arange(3).reshape(1, 3)
    flat, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    gradients = {}
    for name in ("kl_distillation", "stabilized_distillation"):
        scores = torch.zeros(1, 3, requires_grad=True)
        LOSSES[name](scores, own, flat, mask).loss.backward()
        gradients[name] = scores.grad.squeeze(0)
    assert gradients["kl_distillation"].abs().max() < 1e-6
    # Weights 1/3; denominators of 3, 2 and 1 candidates.
    assert gradients["stabilized_distillation"].tolist() == pytest.approx([-2 / 9, -1 / 18, 5 / 18], abs=1e-6)


@pytest.mark.parametrize("name", [*RANKED, "contrastive"])
def test_the_order_of_other_queries_documents_does_not_matter(name):
    scores, own, rewards, mask = random_batch(11)
    order = torch.randperm(scores.shape[1], generator=torch.Generator().manual_seed(0))
    moved = LOSSES[name](scores[:, order], order.argsort()[own], rewards, mask[:, order]).rows
    torch.testing.assert_close(moved, LOSSES[name](scores, own, rewards, mask).rows)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_masked_document_has_no_gradient_and_no_influence(name):
    scores, own, rewards, mask = random_batch(13, masked=0.5)
    scores.requires_grad_()
    output = LOSSES[name](scores, own, rewards, mask)
    output.loss.backward()
    assert scores.grad[~mask].abs().max() == 0
    assert scores.grad[mask].abs().max() > 0
    changed = torch.where(mask, scores.detach(), 50.0)
    torch.testing.assert_close(LOSSES[name](changed, own, rewards, mask).rows, output.rows)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_copied_candidate_counts_once(name):
    scores, own, rewards, mask = random_batch(17, queries=1, group=3, masked=0.0)
    once = LOSSES[name](scores, own, rewards, mask).rows
    copy = own[:, 1:2]
    twice_scores = torch.cat([scores, scores.gather(1, copy)], dim=1)
    twice_own = torch.cat([own, torch.tensor([[scores.shape[1]]])], dim=1)
    twice_rewards = torch.cat([rewards, rewards[:, 1:2]], dim=1)
    twice_mask = torch.cat([mask, torch.tensor([[False]])], dim=1)
    torch.testing.assert_close(LOSSES[name](twice_scores, twice_own, twice_rewards, twice_mask).rows, once)


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_a_row_without_rewards_distils_nothing(name):
    scores, own, rewards, mask = random_batch(19)
    expected = LOSSES[name](scores, own, rewards, mask).rows
    rewards[1] = torch.nan
    scores.requires_grad_()
    output = LOSSES[name](scores, own, rewards, mask)
    output.loss.backward()
    assert output.rows[1] == 0
    assert scores.grad[1].abs().max() == 0
    torch.testing.assert_close(output.rows[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_one_nan_among_rewards_is_not_hidden(name):
    scores, own, rewards, mask = random_batch(19, masked=0.0)
    rewards[1, 2] = torch.nan
    assert LOSSES[name](scores, own, rewards, mask).loss.isnan()


@pytest.mark.parametrize("name", list(LOSSES))
def test_scores_at_the_limits_of_a_temperature_of_a_hundredth_stay_finite(name):
    scores, own, rewards, mask = random_batch(23)
    extreme = (100 * scores.sign()).float().requires_grad_()
    output = LOSSES[name](extreme, own, 50 * rewards.float(), mask)
    output.loss.backward()
    assert output.rows.isfinite().all()
    assert extreme.grad.isfinite().all()


@pytest.mark.parametrize("name", DISTILLATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_the_loss_has_the_type_of_the_scores_whatever_the_rewards_have(name, dtype):
    scores, own, _, mask = vector_batch(torch.float32)
    rewards = torch.tensor([[3, 1, 0], [2, 1, 0]])
    output = LOSSES[name](scores, own, rewards.to(dtype), mask)
    assert output.rows.dtype == torch.float32
    torch.testing.assert_close(output.rows, LOSSES[name](scores, own, rewards.float(), mask).rows)


def test_the_positive_is_compared_with_itself_whatever_the_mask_says():
    scores, own, rewards, mask = vector_batch()
    mask[:, own[:, 0]] = False
    rows = LOSSES["contrastive"](scores, own, rewards, mask).rows
    expected = [scores[0, [0, 1, 2, 4, 5]].logsumexp(0) - scores[0, 0], scores[1, 1:].logsumexp(0) - scores[1, 3]]
    torch.testing.assert_close(rows, torch.stack(expected))


def test_equal_rewards_keep_their_order_in_groups_of_any_size():
    rewards = torch.arange(400).remainder(3).double().reshape(1, 400)
    expected = [
        [by_order(left, i, right, j) for j, right in enumerate(rewards[0].tolist())]
        for i, left in enumerate(rewards[0].tolist())
    ]
    assert ranked_after(rewards)[0].tolist() == expected


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_missing_rewards_are_refused_by_the_loss_that_needs_them(name):
    scores, own, _, mask = vector_batch()
    with pytest.raises(InputError, match=rf"{name} needs rewards and the data has none; score it first"):
        LOSSES[name](scores, own, None, mask)
    assert LOSSES["contrastive"](scores, own, None, mask).loss.item() == pytest.approx(0.507022, abs=1e-5)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.zeros(2, 6, dtype=torch.bfloat16)}, r"scores are bfloat16 of shape \(2, 6\); expected float32"),
        ({0: torch.zeros(12)}, r"scores are float32 of shape \(12,\)"),
        ({1: torch.zeros(3, 3, dtype=torch.int64)}, r"own is int64 of shape \(3, 3\); .* \(2, candidates\)"),
        ({1: torch.zeros(2, 3)}, r"own is float32 .* expected int64"),
        ({1: torch.zeros(2, 7, dtype=torch.int64)}, r"own has 7 candidates per query; expected 1 to 6"),
        ({2: torch.zeros(2, 4)}, r"rewards are float32 of shape \(2, 4\); expected \(2, 3\)"),
        ({3: torch.ones(2, 6)}, r"mask is float32 of shape \(2, 6\); expected bool of shape \(2, 6\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(name, change, message):
    batch = [change.get(position, tensor) for position, tensor in enumerate(vector_batch())]
    with pytest.raises(InputError, match=message):
        LOSSES[name](*batch)
