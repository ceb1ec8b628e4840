"""Chunked cross-entropy and causal attention against the plain computations, gradients included."""

import pytest
import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from trainer.language_model.causal_attention import causal_attention
from trainer.language_model.token_loss import token_losses


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_loss_and_its_gradients_are_those_of_whole_logits(has_bias):
    torch.manual_seed(0)
    # more than two chunks, the last one not full
    states, weight = torch.randn(1100, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True)
    bias = torch.randn(30, requires_grad=True) if has_bias else None
    targets, counts = torch.randint(0, 30, (1100,)), torch.rand(1100)
    leaves = [leaf for leaf in (states, weight, bias) if leaf is not None]

    logits = states @ weight.T + (0 if bias is None else bias)
    each = cross_entropy(logits, targets, reduction="none")
    wanted = torch.autograd.grad((each * counts).sum() / 3, leaves)
    total, found_each = token_losses(states, weight, bias, targets, counts)
    found = torch.autograd.grad(total / 3, leaves)
    torch.testing.assert_close(found_each, each)
    torch.testing.assert_close(total, (each * counts).sum())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_causal_attention_and_its_gradients_are_the_plain_ones(dtype, tolerance):
    torch.manual_seed(0)
    tensors = [torch.randn(2, 3, 17, 8) for _ in range(3)]
    plain = [tensor.to(dtype).double().requires_grad_() for tensor in tensors]
    ours = [tensor.to(dtype).requires_grad_() for tensor in tensors]
    expected = scaled_dot_product_attention(*plain, is_causal=True).transpose(1, 2)
    found, _ = causal_attention(torch.nn.Identity(), *ours, None)
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)
    at_output = torch.randn(2, 17, 3, 8).to(dtype)
    wanted = torch.autograd.grad(expected, plain, at_output.double())
    for one, other in zip(torch.autograd.grad(found, ours, at_output), wanted, strict=True):
        torch.testing.assert_close(one.double(), other, atol=tolerance, rtol=tolerance)
