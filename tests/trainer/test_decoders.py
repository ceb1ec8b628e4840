"""Decoders in training: packed causal attention, adapters, slots that learn, recipes, and the folders they become."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rag_embedder import Embedder
from rag_embedder.engine.packing import Packing
from rag_embedder.errors import ConfigError
from rag_embedder.prompt_form import PROMPT_FORMS
from tests.tiny_decoders import SLOTS, write_adapter, write_decoder
from trainer.checkpoint import checkpoints, load
from trainer.export import export_checkpoint
from trainer.fit import fit_recipe, load_encoder, recipe_path
from trainer.model import TrainableEncoder
from trainer.packed_attention import packed_attention
from trainer.recipe import load_recipe
from trainer.settings import ModelSettings

TEXTS = ["the big river", "a green dog in the city of paris", "dog", "what is the capital of norway ? a dog .", "dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("decoders") / "llama", slots=SLOTS)


@pytest.mark.parametrize("name", PROMPT_FORMS)
@pytest.mark.parametrize("role", ["query", "document"])
def test_vectors_are_the_embedders(folder, name, role):
    encoder = TrainableEncoder.load(folder, prompt_form=name, max_length=40, device="cpu")
    embedder = Embedder.load(folder, prompt_form=name, device="cpu")
    expected = (embedder.encode_queries if role == "query" else embedder.encode_documents)(TEXTS, "tool")
    np.testing.assert_allclose(encoder.encode(TEXTS, "tool", role).detach().numpy(), expected, atol=1e-5)
    assert encoder.padding.share == 0


@pytest.mark.parametrize("architecture", ["mistral", "gpt2"])
def test_what_is_not_packed_is_padded(tmp_path, architecture):
    folder = write_decoder(tmp_path / "model", architecture)
    encoder = TrainableEncoder.load(folder, device="cpu")
    assert encoder._first_position is None
    expected = Embedder.load(folder, device="cpu").encode_documents(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS, "qa", "document").detach().numpy(), expected, atol=1e-5)


def test_a_window_wider_than_a_text_is_packed(tmp_path):
    folder = write_decoder(tmp_path / "model", "mistral")  # its window is 7 tokens
    expected = TrainableEncoder.load(folder, device="cpu").encode(["a dog", "dog"], "qa", "query")
    from tests.tiny_models import change_json

    change_json(folder / "config.json", sliding_window=300)
    packed = TrainableEncoder.load(folder, device="cpu")
    assert packed._first_position == 0
    torch.testing.assert_close(packed.encode(["a dog", "dog"], "qa", "query"), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"lora_rank": 4, "lora_alpha": 2.0}])
def test_packed_gradients_are_those_of_a_padded_batch(folder, options):
    encoders = []
    weights = torch.randn(len(TEXTS), 32, generator=torch.Generator().manual_seed(1))
    for packs in (True, False):
        torch.manual_seed(0)
        encoder = TrainableEncoder.load(folder, prompt_form="llara", device="cpu", **options)
        if not packs:
            encoder.model.set_attn_implementation("sdpa")
            encoder._first_position = None
        for name, weight in encoder.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
        (encoder.encode(TEXTS, "qa", "query") * weights).sum().backward()
        encoders.append(encoder)
    count = 0
    for (name, one), (_, other) in zip(*(encoder.named_parameters() for encoder in encoders), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            count += 1
            torch.testing.assert_close(one.grad, other.grad, atol=2e-5, rtol=1e-4)
    assert count == (29 if options else 20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_causal_attention_is_the_plain_formula_with_shared_heads(dtype):
    lengths = [5, 5, 3, 1]
    torch.manual_seed(0)
    exact = [torch.randn(sum(lengths), heads, 8).to(dtype).float().requires_grad_() for heads in (4, 2, 2)]
    gradient = torch.randn(sum(lengths), 4, 8).to(dtype).float()
    ours = [row.detach().to(dtype).requires_grad_() for row in exact]
    packing = Packing.of(lengths, torch.device("cpu"))
    rows = (row.transpose(0, 1)[None] for row in ours)
    out, _ = packed_attention(torch.nn.Identity(), *rows, None, packing=packing, is_causal=True)
    out.backward(gradient[None].to(dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 6e-2
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        query, key, value = (row[part] for row in exact)
        for head in range(4):
            scores = query[:, head] @ key[:, head // 2].T / 8**0.5
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
            expected = scores.softmax(-1) @ value[:, head // 2]
            assert torch.allclose(out[0, part, head].float(), expected, atol=tolerance)
            expected.backward(gradient[part, head], retain_graph=True)
        start += length
    for row, reference in zip(ours, exact, strict=True):
        assert torch.allclose(row.grad.float(), reference.grad, atol=tolerance)


def test_a_later_token_changes_nothing_before_it(folder):
    encoder = TrainableEncoder.load(folder, device="cpu")
    states = []
    encoder._pool = lambda found, mask: states.append(found) or found[:, -1]
    encoder([[1, 20, 30, 40, 2], [1, 20, 30, 41, 5]])
    torch.testing.assert_close(states[0][0, :3], states[0][1, :3], atol=1e-6, rtol=1e-5)
    assert (states[0][0, 3:] - states[0][1, 3:]).abs().max() > 0.01


def test_adapters_are_in_all_seven_projections_with_the_stated_scale(folder):
    encoder = TrainableEncoder.load(folder, prompt_form="repllama", lora_rank=4, lora_alpha=2.0, device="cpu")
    trained = encoder.trained_weights()
    modules = {name.split(".")[-4] for name in trained if "lora_A" in name}
    assert modules == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert len(trained) == 2 * 7 * 2
    layer = encoder.model.layers[0].self_attn.q_proj
    layer.lora_B["default"].weight.data.normal_()
    expected = layer.base_layer.weight + 0.5 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(encoder.merged_weights()["layers.0.self_attn.q_proj.weight"], expected.detach())


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"trained": "layers"}])
def test_slots_learn_where_embeddings_stay(folder, options):
    encoder = TrainableEncoder.load(folder, prompt_form="llara", device="cpu", **options)
    table = encoder.model.get_input_embeddings().weight
    assert not table.requires_grad
    assert encoder.slots.rows.shape == (16, 32)
    assert "slots.rows" in encoder.trained_weights()
    before = encoder.encode(TEXTS, "qa", "query").detach()
    encoder.encode(TEXTS, "qa", "query")[:, 0].sum().backward()
    used = encoder.slots.rows.grad.abs().sum(dim=1) > 0
    own = encoder.tokenizer._form.query.after[-8:]
    assert used.tolist() == [number in own for number in encoder.slots.ids.tolist()]
    with torch.no_grad():
        encoder.slots.rows += 0.5
    assert (encoder.encode(TEXTS, "qa", "query") - before).abs().max() > 1e-3
    merged = encoder.merged_weights()["embed_tokens.weight"]
    torch.testing.assert_close(merged[encoder.slots.ids], table[encoder.slots.ids] + 0.5)
    others = [number for number in range(len(table)) if number not in encoder.slots.ids.tolist()]
    assert torch.equal(merged[others], table[others])


def test_no_slots_are_trained_where_there_are_none_of_its_own(folder):
    assert TrainableEncoder.load(folder, prompt_form="repllama", lora_rank=2, device="cpu").slots is None
    assert TrainableEncoder.load(folder, prompt_form="llara", device="cpu").slots is None


def test_frozen_weights_are_held_in_half_precision_and_adapters_are_not(folder, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", folder)
    options = {"prompt_form": "llara", "lora_rank": 2, "device": "cpu"}
    exact = TrainableEncoder.load(adapter, **options)
    half = TrainableEncoder.load(adapter, dtype="bfloat16", **options)
    assert half.base_hash == exact.base_hash
    types = {weight.dtype for weight in half.parameters() if weight.requires_grad}
    assert types == {torch.float32}
    assert {weight.dtype for weight in half.parameters() if not weight.requires_grad} == {torch.bfloat16}
    similarity = (half.encode(TEXTS, "qa", "query") * exact.encode(TEXTS, "qa", "query")).sum(dim=1)
    assert (similarity > 0.99).all()
    half.encode(TEXTS, "qa", "query")[:, 0].sum().backward()
    assert half.slots.rows.grad.abs().max() > 0


OVERRIDES = (
    "train.steps=3",
    "train.batch_size=4",
    "train.group_size=3",
    "train.learning_rate=5e-3",
    "train.save_every=0",
    "train.gradient_cache_chunk=5",
    "data.qa.path=smoke:qa.train",
    "data.qa.max_examples=24",
    "model.max_length=96",
)


@pytest.mark.parametrize("name", ["llara", "repllama"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_recipes_run_and_their_export_has_the_same_vectors(folder, tmp_path, name, dtype):
    changes = (*OVERRIDES, f"model.base={folder}", f"train.out={tmp_path / 'run'}", f"model.dtype={dtype}")
    recipe = load_recipe(recipe_path(name), changes)
    assert recipe.data[0].loss == {"contrastive": 1.0}
    assert recipe.data[0].student_temperature == 0.01
    assert (recipe.model.lora_rank, recipe.model.lora_alpha) == {"llara": (64, 16), "repllama": (32, 64)}[name]
    fit_recipe(recipe, show_progress=False)
    exported = export_checkpoint(tmp_path / "run", tmp_path / "exported")
    state = load(checkpoints(tmp_path / "run" / "checkpoints")[-1])
    encoder = load_encoder(recipe, device="cpu")
    base = encoder.encode(TEXTS, "qa", "query").detach().numpy()
    encoder.load_trained_weights(state["weights"])
    expected = encoder.encode(TEXTS, "qa", "query").detach().numpy()
    assert np.abs(expected - base).max() > 1e-3
    embedder = Embedder.load(exported, device="cpu")
    assert embedder.prompt_form == PROMPT_FORMS[name]
    np.testing.assert_allclose(embedder.encode_queries(TEXTS), expected, atol=1e-5 if dtype == "float32" else 0.05)
    assert "library_name: rag-embedder" in (exported / "README.md").read_text(encoding="utf-8")
    assert "around texts" in (exported / "README.md").read_text(encoding="utf-8")
    assert len(load_file(exported / "model.safetensors")) == 20


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt_form": "lara"}, r"model.prompt_form: 'lara'.*Did you mean 'llara'"),
        ({"prompt_form": "llara", "pooling": "mean"}, "model.pooling is 'mean' with model.prompt_form 'llara'"),
        ({"lora_alpha": 4.0}, "model.lora_alpha is set, but model.lora_rank is 0"),
        ({"lora_alpha": 0.0, "lora_rank": 4}, "model.lora_alpha"),
    ],
)
def test_wrong_settings_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        ModelSettings(**values)
