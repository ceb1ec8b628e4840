"""The joint pass: what its mask and positions promise, on models as transformers has them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rag_embedder.errors import ConfigError
from rag_embedder.prompt_form import PROMPT_FORMS
from tests.trainer.pretraining.pretrain_cases import CLASSES, make_recipe, write_base
from trainer.language_model.causal_attention import causal_product
from trainer.language_model.tokenizer import open_tokenizer
from trainer.pretrain import prepare_run
from trainer.pretraining.batches import token_batches
from trainer.pretraining.layout import JointBatch, JointForm, Shape
from trainer.pretraining.loading import load_decoder
from trainer.pretraining.settings import PretrainModelSettings
from trainer.pretraining.slots import add_slots


@pytest.fixture(scope="module", params=list(CLASSES))
def case(request, tmp_path_factory):
    return make_case(write_base(tmp_path_factory.mktemp("decoder") / "base", request.param))


def make_case(folder, **model):
    tokenizer = open_tokenizer(folder)
    form = PROMPT_FORMS["llara"]
    new_ids = add_slots(tokenizer, form)
    settings = PretrainModelSettings(base=str(folder), max_length=128, **model)
    decoder = load_decoder(settings, tokenizer, form, new_ids=new_ids, seed=1, device=torch.device("cpu"))
    joint = JointForm("llara", form.tokenised(tokenizer), tasks=("self", "next"), max_length=128)
    return decoder, joint


def make_sequences(joint, lengths, *, tasks=("self", "next"), seed=0):
    draw = np.random.default_rng(seed)
    words = np.arange(20, 40, dtype=np.int32)
    return [
        joint.sequence(draw.integers(20, 200, size=length).astype(np.int32), dict.fromkeys(tasks, words))
        for length in lengths
    ]


def states_of(decoder, sequences):
    with torch.no_grad():
        return decoder.states(JointBatch.of(sequences, num_slots=8))


def test_next_does_not_see_self_and_both_see_the_text(case):
    decoder, joint = case
    (sequence,) = make_sequences(joint, [11])
    shape, before = sequence.shape, states_of(decoder, [sequence])
    ids = sequence.ids.copy()
    ids[shape.shared : shape.shared + shape.own] = 50
    after = states_of(decoder, [replace(sequence, ids=ids)])
    end = shape.shared + shape.own
    torch.testing.assert_close(after[end:], before[end:], rtol=0, atol=0)
    assert (after[shape.shared : end] - before[shape.shared : end]).abs().max() > 0.1
    ids = sequence.ids.copy()
    ids[3] += 1
    changed = (states_of(decoder, [replace(sequence, ids=ids)]) - before).abs().amax(1)
    assert changed[:3].max() == 0
    assert changed[3:].min() > 1e-5


def test_the_joint_pass_is_two_separate_ones_of_the_plain_model(case, tmp_path):
    decoder, joint = case
    plain = plain_model(decoder, tmp_path)
    (sequence,) = make_sequences(joint, [17])
    shape, states = sequence.shape, states_of(decoder, [sequence])
    text = sequence.ids[: shape.shared].tolist()
    places = {
        "self": slice(shape.shared, shape.shared + shape.own),
        "next": slice(shape.shared + shape.own, shape.length),
    }
    for task, place in places.items():
        ids = torch.tensor([[*text, *joint.prompts[task].after]])
        with torch.no_grad():
            expected = plain.base_model(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(states[: shape.shared], expected[: shape.shared], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(states[place], expected[shape.shared :], rtol=1e-5, atol=1e-5)


def plain_model(decoder, folder):
    decoder.model.save_pretrained(folder / "plain", state_dict=decoder.weights())
    return AutoModelForCausalLM.from_pretrained(folder / "plain", attn_implementation="eager").eval()


def test_a_packed_row_is_its_sequences_one_by_one(case):
    decoder, joint = case
    sequences = make_sequences(joint, [5, 9, 9, 3, 9])
    sequences += [*make_sequences(joint, [4, 9], tasks=("self",)), *make_sequences(joint, [6], tasks=("next",))]
    batch = JointBatch.of(sequences, num_slots=8)
    assert [span.count for span in batch.spans if span.shape.own and span.shape.following] == [1, 1, 3]
    states = states_of(decoder, sequences).split([span.shape.length for span in batch.spans for _ in range(span.count)])
    for sequence, found in zip(sorted(sequences, key=lambda each: each.shape), states, strict=True):
        torch.testing.assert_close(found, states_of(decoder, [sequence]), rtol=1e-5, atol=1e-5)


def test_places_and_positions_by_hand(case):
    _, joint = case
    sequences = make_sequences(joint, [4, 4])
    shape = sequences[0].shape
    before, own, following = len(joint.before), *(len(joint.prompts[task].after) for task in ("self", "next"))
    assert shape == Shape(before + 4, own, following)
    batch = JointBatch.of(sequences, num_slots=8)
    one = [*range(shape.shared + own), *range(shape.shared, shape.shared + following)]
    assert batch.positions.tolist() == one + one
    for task in ("self", "next"):
        read = batch.ids[batch.tasks[task].slots].tolist()
        assert read == [list(joint.prompts[task].after[-8:])] * 2
    assert batch.predicted.tolist() == [token for each in sequences for token in each.ids[before : before + 4]]
    assert batch.read[:4].tolist() == [before - 1, before, before + 1, before + 2]


def test_batches_hold_every_sequence_once_within_the_limit(case):
    _, joint = case
    sequences = make_sequences(joint, [5, 60, 7, 30, 5, 5, 12])
    batches = list(token_batches(sequences, max_tokens=150, num_slots=8))
    assert max(len(batch.ids) for batch in batches) <= 150
    assert sum(len(batch.ids) for batch in batches) == sum(sequence.shape.length for sequence in sequences)
    assert sum(span.count for batch in batches for span in batch.spans) == 7


def test_bfloat16_and_checkpointing_give_the_same_gradients(tmp_path):
    recipe = make_recipe(tmp_path, objective={"variant": "released"})
    gradients = {}
    for name, model in {
        "plain": {},
        "checkpointing": {"gradient_checkpointing": True},
        "bfloat16": {"dtype": "bfloat16"},
    }.items():
        run = prepare_run(replace(recipe, model=replace(recipe.model, **model)))
        run._backward(run.sets[0].sequences[:9])
        gradients[name] = torch.cat([weight.grad.flatten() for weight in run.trained_parameters()])
    torch.testing.assert_close(gradients["checkpointing"], gradients["plain"], rtol=1e-4, atol=1e-6)
    cosine = torch.nn.functional.cosine_similarity(gradients["bfloat16"], gradients["plain"], dim=0)
    assert cosine > 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_queries_at_the_end_of_the_keys_are_as_the_end_of_a_whole_pass(dtype):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 13, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    whole = causal_product(query, key, value, scale=0.3)[:, :, -5:]
    found = causal_product(query[:, :, -5:], key, value, scale=0.3)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found, whole, rtol=tolerance, atol=tolerance)
    at_output = torch.randn_like(found)
    wanted = torch.autograd.grad(whole, (query, key, value), at_output)
    for one, other in zip(torch.autograd.grad(found, (query, key, value), at_output), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=3 * tolerance, atol=3 * tolerance)


def test_forms_and_lengths_that_do_not_fit(tmp_path):
    tokenizer = open_tokenizer(write_base(tmp_path / "base"))
    add_slots(tokenizer, PROMPT_FORMS["llara"])
    form = PROMPT_FORMS["repllama"].tokenised(tokenizer)
    with pytest.raises(ConfigError, match=r"model\.form 'repllama'.*llara or llara-paper"):
        JointForm("repllama", form, tasks=("self", "next"), max_length=128)
    ids = PROMPT_FORMS["llara"].tokenised(tokenizer)
    prompts = ids.document.num_tokens + len(ids.query.after)
    with pytest.raises(ConfigError, match=rf"model\.max_length is 20; expected at least {prompts + 1}"):
        JointForm("llara", ids, tasks=("self", "next"), max_length=20)
    assert JointForm("llara", ids, tasks=("self", "next"), max_length=prompts + 1).room == 1
