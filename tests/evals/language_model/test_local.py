"""Scores equal a loop over one unpadded sequence at a time, whatever the batch, the padding or the tokenizer."""

import itertools
import random

import pytest
import torch

from evals.language_model import LANGUAGE_MODELS, Continuation
from evals.language_model.local import LocalLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import ConfigError, InputError, ModelLoadError
from tests.tiny_language_models import (
    POSITIONS,
    make_language_model,
    make_tokenizer,
    write_language_model,
)

WORDS = """
the capital of france is paris big small dog cat one two three river and who where
""".split()  # noqa: SIM905  (a list of quoted words is not easier to read)


def made(architecture="gpt2", *, tokenizer=None, model=None, **options):
    vocabulary = TokenizerVocabulary(tokenizer or make_tokenizer())
    return LocalLanguageModel(model or make_language_model(architecture), vocabulary, name="tiny", **options)


@pytest.fixture(scope="module", params=["gpt2", "llama", "mistral"])
def model(request):
    return make_language_model(request.param)


def by_hand(model, context, continuation):
    """Sum of log p, one forward pass of one whole sequence, no padding and no cache."""
    with torch.no_grad():
        logits = model(torch.tensor([[*context, *continuation]])).logits[0].double()
    rows = logits.log_softmax(-1)
    places = range(len(context) - 1, len(context) + len(continuation) - 1)
    return sum(rows[place, token].item() for place, token in zip(places, continuation, strict=True))


def some_requests(count=24):
    rng = random.Random(5)
    words = lambda low, high: " " + " ".join(rng.choices(WORDS, k=rng.randint(low, high)))  # noqa: E731
    contexts = [words(1, 40) for _ in range(count // 2)]
    return [Continuation(rng.choice(contexts), words(1, 6)) for _ in range(count)]


@pytest.mark.parametrize(("start", "marks"), [*itertools.product([True, False], repeat=2)])
def test_a_score_is_the_sum_over_the_continuations_own_tokens(model, start, marks):
    tokenizer = make_tokenizer(start=start, marks_beginnings=marks)
    lm = made(tokenizer=tokenizer, model=model)
    scores = lm.log_likelihoods([Continuation("the capital of france is", " paris ."), Continuation("A:", "B")])
    ids = tokenizer.convert_tokens_to_ids
    head = ["<s>"] if start else []
    first = "▁the" if marks else "the"
    contexts = [[*head, first, "▁capital", "▁of", "▁france", "▁is"], [*head, "▁A" if marks else "A", ":"]]
    continuations = [["▁paris", "▁."], ["B"]]  # not "▁B": it follows other text
    for score, context, continuation in zip(scores, contexts, continuations, strict=True):
        assert score.num_tokens == len(continuation)
        assert score.log_likelihood == pytest.approx(by_hand(model, ids(context), ids(continuation)), abs=1e-4)
        assert score.mean_nll == pytest.approx(-score.log_likelihood / len(continuation))


@pytest.mark.parametrize("batch_tokens", [1, 60, 500, 100_000])
@pytest.mark.parametrize("share_prefixes", [True, False])
def test_neither_the_batch_nor_shared_prefixes_change_a_score(model, batch_tokens, share_prefixes):
    lm = made(model=model, batch_tokens=batch_tokens, share_prefixes=share_prefixes)
    tokenizer = make_tokenizer(start=False)
    requests = some_requests()
    for request, score in zip(requests, lm.log_likelihoods(requests), strict=True):
        context, continuation = tokenizer(request.context)["input_ids"], tokenizer(request.continuation)["input_ids"]
        assert score.log_likelihood == pytest.approx(by_hand(model, [1, *context], continuation), abs=2e-4)
        assert score.num_tokens == len(continuation)


def test_the_tokenizers_padding_settings_change_nothing():
    scores = []
    for side, pad in (("left", "</s>"), ("right", "</s>"), ("right", "the")):
        tokenizer = make_tokenizer()
        tokenizer.padding_side = side
        tokenizer.pad_token = pad
        scores.append([score.log_likelihood for score in made(tokenizer=tokenizer).log_likelihoods(some_requests())])
    assert scores[0] == scores[1] == scores[2]


def test_an_end_token_inside_a_context_is_read_like_any_other(model):
    lm = made(model=model)
    requests = [Continuation([1, 2, 0, 7, 2], [9]), Continuation([1, 8, 8, 8, 8, 8, 8, 8], [9, 10])]
    for request, score in zip(requests, lm.log_likelihoods(requests), strict=True):
        assert score.log_likelihood == pytest.approx(by_hand(model, request.context, request.continuation), abs=1e-4)


def test_a_long_context_loses_its_beginning_but_not_its_start_token_and_the_continuation_nothing(model):
    lm = made(model=model, max_length=12)
    words = WORDS[:15]
    long = " " + " ".join(words)
    answer = " dog cat one two"
    tokenizer = make_tokenizer(start=False)
    tail = tokenizer(" " + " ".join(words[-7:]))["input_ids"]  # 12 places: 4 for the answer, 1 for the start, 7 left
    expected = by_hand(model, [1, *tail], tokenizer(answer)["input_ids"])
    score = lm.log_likelihoods([Continuation(long, answer)])[0]
    assert (score.log_likelihood, score.num_tokens) == (pytest.approx(expected, abs=1e-4), 4)
    assert made(model=model).log_likelihoods([Continuation(long, answer)], max_length=12)[0].log_likelihood == (
        pytest.approx(expected, abs=1e-4)
    )


def test_ids_are_taken_as_they_are(model):
    lm = made(model=model, max_length=6)
    score = lm.log_likelihoods([Continuation([5, 6, 7, 8, 9], [10, 11])])[0]
    assert score.log_likelihood == pytest.approx(by_hand(model, [6, 7, 8, 9], [10, 11]), abs=1e-4)


@pytest.mark.parametrize("start", [True, False])
def test_an_empty_context_is_the_start_token(model, start):
    lm = made(model=model, tokenizer=make_tokenizer(start=start))
    capital = make_tokenizer().convert_tokens_to_ids("▁capital")
    for empty in ("", []):
        assert lm.log_likelihoods([Continuation(empty, " capital")])[0].log_likelihood == pytest.approx(
            by_hand(model, [1], [capital]), abs=1e-4
        )


@pytest.mark.parametrize(("continuation", "count"), [("", "0 tokens"), (" dog" * 8, "8 tokens")])
def test_a_continuation_that_cannot_be_scored_whole_is_refused(continuation, count):
    with pytest.raises(InputError, match=f"continuation 1 has {count}"):
        made(max_length=8).log_likelihoods([Continuation("the", " dog"), Continuation("the", continuation)])


def test_is_greedy_says_whether_every_token_was_the_likeliest(model):
    lm = made(model=model)
    ids = [1, 40, 50]
    for _ in range(3):
        with torch.no_grad():
            ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
    requests = [Continuation(ids[:3], ids[3:]), Continuation(ids[:3], [*ids[3:5], 7 if ids[5] != 7 else 8])]
    # Alone and together with others of the same context: both ways through the model.
    assert [score.is_greedy for score in lm.log_likelihoods(requests)] == [True, False]
    assert [lm.log_likelihoods([request])[0].is_greedy for request in requests] == [True, False]


def test_token_log_likelihoods_are_one_value_per_token(model):
    lm = made(model=model)
    ids = [1, 40, 50, 60, 70]
    values = lm.token_log_likelihoods(ids, 2)
    expected = [by_hand(model, ids[:place], ids[place : place + 1]) for place in (2, 3, 4)]
    assert values == pytest.approx(expected, abs=1e-4)
    for wrong in (0, 5):
        with pytest.raises(InputError, match="5 ids scored from"):
            lm.token_log_likelihoods(ids, wrong)
    with pytest.raises(InputError, match="at most 4 ids"):
        made(model=model, max_length=4).token_log_likelihoods(ids, 2)


def test_scores_in_bfloat16_are_finer_than_the_logits_steps():
    model = make_language_model().to(torch.bfloat16)
    lm = made(model=model)
    values = [score.log_likelihood for score in lm.log_likelihoods(some_requests())]
    exact = [score.log_likelihood for score in made().log_likelihoods(some_requests())]
    assert values == pytest.approx(exact, rel=0.02)
    logits = lm._forward(lm._forward.left_padded([[1, 40, 50]]), keep=1).logits
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16


def greedy_by_hand(model, ids, count):
    new = []
    for _ in range(count):
        with torch.no_grad():
            token = model(torch.tensor([[*ids, *new]])).logits[0, -1].argmax().item()
        if token == 2:
            break
        new.append(token)
    return new


@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_generation_is_the_likeliest_token_each_time(model, batch_tokens):
    tokenizer = make_tokenizer()
    lm = made(model=model, tokenizer=tokenizer, batch_tokens=batch_tokens)
    prompts = [" the capital of", " cat", " big small river and who where is the dog"]
    expected = [tokenizer.decode(greedy_by_hand(model, tokenizer(each)["input_ids"], 9)) for each in prompts]
    assert lm.generate(prompts, max_new_tokens=9) == expected


def test_generation_stops_before_the_first_stop_text(model):
    tokenizer = make_tokenizer()
    lm = made(model=model, tokenizer=tokenizer)
    whole = lm.generate([" the capital of", " cat"], max_new_tokens=10)
    stops = [whole[0][4:6], whole[1][-1]]
    expected = [text[: min(text.find(stop) for stop in stops if stop in text)] for text in whole]
    assert lm.generate([" the capital of", " cat"], max_new_tokens=10, stop=stops) == expected


def test_generation_ends_at_the_end_token():
    model = make_language_model()
    second = make_language_model()
    new = greedy_by_hand(model, [1, 40], 6)
    with torch.no_grad():  # the third token that the model writes becomes the end token, by exchanging two rows
        weight = second.get_input_embeddings().weight
        weight[[2, new[2]]] = weight[[new[2], 2]]
    lm = made(model=second)
    prompt = lm.decode([[40]])[0]
    assert new[2] not in (40, *new[:2])
    assert lm.generate([prompt], max_new_tokens=6) == lm.decode([new[:2]])


def test_a_long_prompt_of_generation_loses_its_beginning(model):
    lm = made(model=model, max_length=10)
    words = " " + " ".join(WORDS)
    tail = make_tokenizer(start=False)(words)["input_ids"][-5:]  # 10 places: 4 new, 1 start
    assert lm.generate([words], max_new_tokens=4) == lm.decode([greedy_by_hand(model, [1, *tail], 4)])
    with pytest.raises(ConfigError, match="tokens are left for the prompt"):
        lm.generate([words], max_new_tokens=10)


def test_a_folder_gives_the_same_model(tmp_path):
    folder = write_language_model(tmp_path / "model", seed=3)
    lm = LANGUAGE_MODELS["local"].load(folder, device="cpu")
    same = made(model=make_language_model(seed=3))
    assert (lm.name, lm.max_length) == ("model", POSITIONS)
    assert lm.fingerprint == same.fingerprint
    assert lm.fingerprint != made(model=make_language_model(seed=4)).fingerprint
    assert lm.fingerprint != made(model=make_language_model(seed=3).to(torch.bfloat16)).fingerprint
    requests = some_requests(4)
    assert [s.log_likelihood for s in lm.log_likelihoods(requests)] == pytest.approx(
        [s.log_likelihood for s in same.log_likelihoods(requests)], abs=1e-4
    )


def test_a_folder_that_is_no_language_model_is_refused(tmp_path, tiny_folder):
    with pytest.raises(ModelLoadError, match="tensors are missing"):
        LocalLanguageModel.load(tiny_folder, device="cpu")
    with pytest.raises(ModelLoadError, match="no model folder at"):
        LocalLanguageModel.load(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="unknown dtype"):
        LocalLanguageModel.load(write_language_model(tmp_path / "m"), dtype="int3")


def test_nothing_asked_is_nothing_answered():
    lm = made()
    assert (lm.log_likelihoods([]), lm.generate([], max_new_tokens=3), lm.count_tokens([])) == ([], [], [])
    assert lm.count_tokens(["the capital", ""]) == [2, 0]
