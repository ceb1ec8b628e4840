"""The trainable encoder gives the embedder's vectors, packed and padded, and its gradients are those of plain code."""

import numpy as np
import pytest
import torch

from rag_embedder import Embedder
from rag_embedder.engine.packing import Packing
from rag_embedder.errors import ConfigError
from tests import tiny_models
from trainer.model import TrainableEncoder
from trainer.packed_attention import packed_attention
from trainer.token_batches import padded_batches, unpadded_batches

TEXTS = ["the river", "a green house by the water", "rain", "the capital of norway is oslo and it rains there", "rain"]


@pytest.fixture(params=["bert", "roberta", "distilbert", "mpnet"])
def folder(request, tmp_path):
    return tiny_models.write_plain(tmp_path / "model", request.param)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("role", ["query", "document"])
def test_vectors_are_the_embedders(folder, pooling, role):
    encoder = TrainableEncoder.load(folder, pooling=pooling, device="cpu")
    embedder = Embedder.load(folder, pooling=pooling, device="cpu")
    expected = (embedder.encode_queries if role == "query" else embedder.encode_documents)(TEXTS, "tool")
    np.testing.assert_allclose(encoder.encode(TEXTS, "tool", role).detach().numpy(), expected, atol=1e-5)


def test_packed_gradients_are_those_of_a_padded_batch(tmp_path):
    folder = tiny_models.write_plain(tmp_path / "model")
    packed = TrainableEncoder.load(folder, pooling="mean", device="cpu")
    padded = TrainableEncoder.load(folder, pooling="mean", device="cpu")
    padded.model.set_attn_implementation("sdpa")
    padded._first_position = None
    weights = torch.randn(len(TEXTS), 32, generator=torch.Generator().manual_seed(1))
    for encoder in (packed, padded):
        (encoder.encode(TEXTS, "qa", "query") * weights).sum().backward()
    for (name, one), (_, other) in zip(packed.model.named_parameters(), padded.model.named_parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_no_padding_is_computed(folder):
    encoder = TrainableEncoder.load(folder, device="cpu")
    texts = ["rain " * (1 + number % 40) for number in range(120)]
    encoder.encode(texts, "qa", "document")
    assert encoder.padding.share < 0.03
    assert encoder.padding.real > 0


def test_same_text_is_encoded_once_and_gets_both_gradients(tmp_path):
    encoder = TrainableEncoder.load(tiny_models.write_plain(tmp_path / "model"), device="cpu")
    one = encoder.encode(["rain"], "qa", "query")
    tokens = encoder.padding.real
    two = encoder.encode(["rain", "rain"], "qa", "query")
    assert encoder.padding.real == 2 * tokens
    torch.testing.assert_close(two, one.expand(2, -1))
    weight = encoder.model.get_input_embeddings().weight
    direction = torch.linspace(0, 1, 32)
    single, double = (torch.autograd.grad((rows * direction).sum(), weight)[0] for rows in (one, two))
    torch.testing.assert_close(double, 2 * single)


def test_adapters_start_at_the_base_and_are_all_that_is_trained(tmp_path):
    folder = tiny_models.write_plain(tmp_path / "model")
    encoder = TrainableEncoder.load(folder, lora_rank=4, device="cpu")
    expected = Embedder.load(folder, device="cpu").encode_queries(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS, "qa", "query").detach().numpy(), expected, atol=1e-5)
    trained = [name for name, weight in encoder.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name and "pooler" not in name for name in trained)


def test_bfloat16_autocast_keeps_float32_weights_and_is_near(tmp_path):
    folder = tiny_models.write_plain(tmp_path / "model")
    exact = TrainableEncoder.load(folder, device="cpu").encode(TEXTS, "qa", "query")
    encoder = TrainableEncoder.load(folder, dtype="bfloat16", device="cpu")
    rows = encoder.encode(TEXTS, "qa", "query")
    assert rows.dtype == torch.float32
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    torch.testing.assert_close(rows, exact, atol=0.03, rtol=0)
    assert not torch.equal(rows, exact)


def test_no_texts_give_no_rows(tmp_path):
    encoder = TrainableEncoder.load(tiny_models.write_plain(tmp_path / "model"), device="cpu")
    assert encoder.encode([], "qa", "query").shape == (0, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 4000}, "model.max_length: got 4000; expected 8 to 128"),
        ({"pooling": "man"}, "Did you mean 'mean'"),
        ({"dtype": "float16"}, "model.dtype: got 'float16'"),
        ({"trained": "heads"}, "model.trained: got 'heads'; expected one of: all, layers"),
        ({"scenarios": "nine"}, "unknown instruction set 'nine'"),
    ],
)
def test_bad_settings_are_refused(tmp_path, options, message):
    folder = tiny_models.write_plain(tmp_path / "model")
    with pytest.raises(ConfigError, match=message):
        TrainableEncoder.load(folder, device="cpu", **options)


def test_unknown_scenario_is_refused(tmp_path):
    encoder = TrainableEncoder.load(tiny_models.write_plain(tmp_path / "model"), device="cpu")
    with pytest.raises(ConfigError, match=r"unknown scenario 'tools'.*Did you mean 'tool'"):
        encoder.encode(["rain"], "tools", "query")


@pytest.mark.parametrize("plan", [unpadded_batches, padded_batches])
def test_batches_hold_every_text_once_within_the_bound(plan):
    lengths = [3, 50, 7, 7, 31, 8, 120, 50, 2]
    batches = plan(lengths, max_tokens=100)
    assert sorted(position for batch in batches for position in batch) == list(range(9))
    assert batches[0] == [6]
    assert all(sum(lengths[position] for position in batch) <= 100 for batch in batches[1:])


def test_embeddings_can_be_left_as_they_are(tmp_path):
    encoder = TrainableEncoder.load(tiny_models.write_plain(tmp_path / "model"), trained="layers", device="cpu")
    names = list(encoder.trained_weights())
    assert names
    assert not [name for name in names if "embeddings." in name or "pooler." in name]
    encoder.encode(["one", "two words"], "qa", "query").sum().backward()
    assert all(weight.grad is None for name, weight in encoder.named_parameters() if "embeddings." in name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_in_half_precision_has_the_gradients_of_the_plain_formula(dtype):
    lengths = [5, 5, 3, 1]
    torch.manual_seed(0)
    rows = [torch.randn(sum(lengths), 2, 8) for _ in range(4)]
    query, key, value, gradient = (row.to(dtype).float() for row in rows)
    for row in (query, key, value):
        row.requires_grad_()
    half = [row.detach().to(dtype).requires_grad_() for row in (query, key, value)]
    packing = Packing.of(lengths, torch.device("cpu"))
    out, _ = packed_attention(torch.nn.Identity(), *(row.transpose(0, 1)[None] for row in half), None, packing=packing)
    out.backward(gradient[None].to(dtype))
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        scores = torch.einsum("ihd,jhd->hij", query[part], key[part]) / 8**0.5
        expected = torch.einsum("hij,jhd->ihd", scores.softmax(-1), value[part])
        assert torch.allclose(out[0, part].float(), expected, atol=2e-2)
        expected.backward(gradient[part])
        start += length
    for row, exact in zip(half, (query, key, value), strict=True):
        assert torch.allclose(row.grad.float(), exact.grad, atol=4e-2)
