"""The bag-of-words loss: against loops, in chunks against at once, and the released variant on numbers by hand."""

import math

import numpy as np
import pytest
import torch

from tests.trainer.pretraining.pretrain_cases import make_recipe
from trainer.pretrain import prepare_run
from trainer.pretraining import bag_of_words
from trainer.pretraining.bag_of_words import Head, bag_losses, bag_recalls
from trainer.pretraining.objective import VARIANTS


def ids(*numbers):
    return np.array(numbers, dtype=np.int32)


def by_hand(states, head, targets):
    """Straight from the formula, one target at a time."""
    found = []
    for vectors, wanted in zip(states, targets, strict=True):
        logits = vectors @ head.weight.T + (0 if head.bias is None else head.bias)
        largest = logits.max(0).values
        total = sum(math.e**value for value in largest)
        found.append(-sum((largest[each].exp() / total).log() for each in wanted) / len(wanted))
    return torch.stack(found)


@pytest.mark.parametrize("num_slots", [1, 3])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
def test_the_loss_and_its_gradients_are_the_formulas(num_slots, has_bias, chunk, monkeypatch):
    monkeypatch.setattr(bag_of_words, "_CHUNK_LOGITS", chunk)
    torch.manual_seed(0)
    states = torch.randn(7, num_slots, 6, requires_grad=True)
    weight, bias = torch.randn(19, 6, requires_grad=True), torch.randn(19, requires_grad=True) if has_bias else None
    head = Head(weight, bias)
    targets = [ids(0), ids(18, 3), ids(*range(19)), ids(4, 5, 6), ids(1), ids(7, 2), ids(0, 18)]
    leaves = [leaf for leaf in (states, weight, bias) if leaf is not None]
    expected = by_hand(states, head, targets)
    total, each = bag_losses(states, head, targets)
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(total, expected.sum())
    wanted = torch.autograd.grad(expected.sum() * 0.3, leaves)
    for one, other in zip(torch.autograd.grad(total * 0.3, leaves), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_needs_no_gradient_gets_none_and_half_precision_is_near():
    torch.manual_seed(0)
    states, weight = torch.randn(5, 2, 8, requires_grad=True), torch.randn(30, 8)
    targets = [ids(1, 2)] * 5
    exact, _ = bag_losses(states, Head(weight), targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near, _ = bag_losses(states, Head(weight), targets)
    assert float(near.detach()) == pytest.approx(float(exact.detach()), rel=0.02)
    (expected,) = torch.autograd.grad(exact, states)
    (found,) = torch.autograd.grad(near, states)
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.99
    with torch.no_grad():
        assert not bag_losses(states, Head(weight), targets)[0].requires_grad


def test_a_uniform_head_costs_the_logarithm_of_its_entries_and_a_perfect_one_that_of_its_targets():
    states = torch.ones(1, 1, 2)
    assert float(bag_losses(states, Head(torch.zeros(50, 2)), [ids(3, 9)])[1]) == pytest.approx(math.log(50))
    weight = torch.full((50, 2), -50.0)
    weight[[3, 9]] = 50.0
    assert float(bag_losses(states, Head(weight), [ids(3, 9)])[1]) == pytest.approx(math.log(2), abs=1e-5)


def test_recall_counts_targets_among_as_many_likeliest_entries(monkeypatch):
    monkeypatch.setattr(bag_of_words, "_CHUNK_LOGITS", 6)
    states = torch.eye(3).unsqueeze(1)
    weight = torch.tensor([[5.0, 0, 9], [4, 9, 8], [3, 8, 7], [2, 7, 0], [1, 0, 1]])
    found = bag_recalls(states, Head(weight), [ids(0, 1, 4), ids(1), ids(3, 4)])
    assert found.tolist() == pytest.approx([2 / 3, 1.0, 0.0])
    two_slots = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    # the largest of both slots: 5, 9, 8, 7, 1
    assert bag_recalls(two_slots, Head(weight), [ids(1, 2, 3)]).tolist() == [1.0]


def test_the_released_variants_numbers_by_hand(tmp_path):
    """L_AR + (mean l_self + mean l_next) / 2 / 10, and the paper's sum of both alone, from whole logits."""
    released = prepare_run(make_recipe(tmp_path, objective={"variant": "released"}))
    sequences = released.sets[0].sequences[:7]
    logits, lm, num_text = {"self": [], "next": []}, 0.0, 0
    means = {"self": [], "next": []}
    for sequence in sequences:
        shape, before = sequence.shape, sequence.num_before
        ends = {"self": shape.shared + shape.own, "next": shape.length}
        for task, wanted in sequence.targets.items():
            text = sequence.ids[: shape.shared].tolist()
            prompt = sequence.ids[ends[task] - (shape.own if task == "self" else shape.following) : ends[task]]
            plain = plain_logits(released, [*text, *prompt.tolist()])
            largest = plain[-8:].max(0).values.log_softmax(-1)
            logits[task].append(-sum(float(largest[each]) for each in wanted) / len(wanted))
            average = plain[-8:].mean(0).log_softmax(-1)
            means[task].append(-sum(float(average[each]) for each in wanted) / len(wanted))
        steps = plain[: shape.shared].log_softmax(-1)
        lm -= sum(float(steps[place - 1, sequence.ids[place]]) for place in range(before, shape.shared))
        num_text += shape.shared - before
    mean = {task: sum(each) / len(each) for task, each in logits.items()}
    assert len(logits["next"]) < len(logits["self"]) == 7
    expected = lm / num_text + (mean["self"] + mean["next"]) / 2 / 10
    loss, terms = released._backward(sequences)
    assert loss == pytest.approx(expected, rel=1e-4)
    assert terms == pytest.approx({"self": mean["self"], "next": mean["next"], "lm": lm / num_text}, rel=1e-4)
    released._objective = VARIANTS["paper"]
    found, _ = released._backward(sequences)
    assert found == pytest.approx(sum(sum(each) / len(each) for each in means.values()), rel=1e-4)


def plain_logits(run, ids):
    run.decoder.model.set_attn_implementation("eager")
    with torch.no_grad():
        found = run.decoder.model(input_ids=torch.tensor([ids])).logits[0]
    run.decoder.model.set_attn_implementation("rag_embedder_joint")
    return found
