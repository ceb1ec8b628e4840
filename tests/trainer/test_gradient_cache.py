"""Gradient caching gives the loss and the gradients of the whole batch, whatever the chunk."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny_models
from trainer.gradient_cache import backward
from trainer.model import TrainableEncoder

TEXTS = [
    f"{word} {'rain ' * (number % 5)}"
    for number, word in enumerate(("river", "house", "city", "music", "fire", "rain"))
]


def contrastive(vectors):
    scores = vectors[:2] @ vectors[2:].T / 0.05
    return torch.nn.functional.cross_entropy(scores, torch.tensor([1, 3]))


def gradients(encoder, token_ids, chunk):
    encoder.zero_grad()
    loss = backward(encoder, token_ids, contrastive, chunk=chunk)
    return loss, {name: weight.grad.clone() for name, weight in encoder.named_parameters() if weight.grad is not None}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tiny_models.write_plain(tmp_path_factory.mktemp("model") / "bert")
    return TrainableEncoder.load(folder, pooling="mean", device="cpu")


@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 6, 100])
def test_chunks_do_not_change_gradients(encoder, chunk):
    token_ids = encoder.tokenize(TEXTS, "qa", "query")
    loss, expected = gradients(encoder, token_ids, 0)
    same_loss, found = gradients(encoder, token_ids, chunk)
    torch.testing.assert_close(same_loss, loss)
    assert set(found) == set(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=3, max_size=9),
    chunk=st.integers(0, 10),
)
def test_any_encoder_and_any_lengths(lengths, chunk):
    table = torch.nn.Parameter(torch.linspace(-1, 1, 12).view(6, 2).sin())
    token_ids = [[(place + step) % 6 for step in range(length)] for place, length in enumerate(lengths)]

    def encode(batch):
        return torch.stack([table[torch.tensor(ids)].mean(0).tanh() for ids in batch])

    def loss_of(vectors):
        return (vectors @ vectors.T).exp().sum()

    loss_of(encode(token_ids)).backward()
    expected, table.grad = table.grad.clone(), None
    backward(encode, token_ids, loss_of, chunk=chunk)
    torch.testing.assert_close(table.grad, expected)
