"""A model behind a completions endpoint gives the numbers of the same model in this process."""

import pytest

from evals.language_model import LANGUAGE_MODELS, Continuation, LanguageModelError
from evals.language_model.http_json import JsonClient
from evals.language_model.local import LocalLanguageModel
from evals.language_model.server import ServerLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import ConfigError, InputError
from tests.evals.language_model.completions_stub import completions_server
from tests.tiny_language_models import POSITIONS, make_language_model, make_tokenizer

REQUESTS = [
    Continuation("the capital of france is", " paris ."),
    Continuation("the capital of france is", " oslo"),
    Continuation("A:", "B"),
    Continuation([5, 6, 7], [8, 9, 10]),
    Continuation("", " dog"),
]


def local(**options):
    return LocalLanguageModel(
        make_language_model(), TokenizerVocabulary(make_tokenizer()), name="tiny", device="cpu", **options
    )


def connected(server, *, max_length=POSITIONS, **options):
    client = JsonClient(server.url, wait=0.001, timeout=20, **options)
    return ServerLanguageModel(client, TokenizerVocabulary(make_tokenizer()), model="tiny", max_length=max_length)


def test_log_likelihoods_equal_those_of_the_model_itself():
    with completions_server() as server:
        found = connected(server).log_likelihoods(REQUESTS)
    expected = local().log_likelihoods(REQUESTS)
    assert [score.log_likelihood for score in found] == pytest.approx([s.log_likelihood for s in expected], abs=1e-4)
    assert [(s.num_tokens, s.is_greedy) for s in found] == [(s.num_tokens, s.is_greedy) for s in expected]


def test_greedy_spans_are_seen():
    lm = local()
    text = lm.generate(["the capital"], max_new_tokens=1)[0]
    ids = lm.tokenize(["the capital"])[0]
    request = Continuation([1, *ids], lm.tokenize([text])[0])
    with completions_server() as server:
        assert connected(server).log_likelihoods([request])[0].is_greedy
    assert lm.log_likelihoods([request])[0].is_greedy


def test_tokens_are_scored_one_by_one():
    ids = [1, 40, 50, 60, 70]
    with completions_server() as server:
        lm = connected(server)
        assert lm.token_log_likelihoods(ids, 2) == pytest.approx(local().token_log_likelihoods(ids, 2), abs=1e-4)
        with pytest.raises(InputError, match="5 ids scored from 5"):
            lm.token_log_likelihoods(ids, 5)


def test_a_place_is_left_for_the_token_that_the_server_must_generate():
    long = Continuation(" dog" * (POSITIONS + 50), " cat cat")
    with completions_server() as server:
        found = connected(server).log_likelihoods([long])[0]
        assert len(server.seen[0][1]["prompt"]) == POSITIONS - 1
    assert found.log_likelihood == pytest.approx(
        local(max_length=POSITIONS - 1).log_likelihoods([long])[0].log_likelihood, abs=1e-4
    )


def test_generation_is_that_of_the_model_itself_whatever_the_number_of_stop_texts():
    prompts = ["the capital of", " cat"]
    whole = local().generate(prompts, max_new_tokens=8)
    stop = ["never 1", "never 2", "never 3", "never 4", whole[0][5:7]]  # the interface takes four
    with completions_server() as server:
        lm = connected(server)
        assert lm.generate(prompts, max_new_tokens=8) == whole
        assert lm.generate(prompts, max_new_tokens=8, stop=stop) == local().generate(
            prompts, max_new_tokens=8, stop=stop
        )


def test_loading_asks_the_server_for_its_model_and_length(tmp_path):
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    with completions_server(names=("big", "tiny")) as server:
        lm = LANGUAGE_MODELS["server"].load(server.url, tokenizer=tmp_path / "tokenizer", model="tiny")
        assert (lm.name, lm.max_length) == ("tiny", POSITIONS)
        assert lm.count_tokens(["the capital"]) == [2]
        assert (
            lm.fingerprint
            != ServerLanguageModel.load(server.url, tokenizer=tmp_path / "tokenizer", model="big").fingerprint
        )
        for model in (None, "other"):
            with pytest.raises(ConfigError, match="expected one of: big, tiny"):
                ServerLanguageModel.load(server.url, tokenizer=tmp_path / "tokenizer", model=model)


def test_a_request_that_failed_for_the_moment_is_repeated():
    faults = [(503, {}, "busy"), (429, {"Retry-After": "0"}, "slow down"), (200, {}, "{not json")]
    with completions_server(faults=faults) as server:
        found = connected(server).log_likelihoods(REQUESTS[:1])
        assert len(server.seen) == 4
    assert found[0].log_likelihood == pytest.approx(local().log_likelihoods(REQUESTS[:1])[0].log_likelihood, abs=1e-4)


def test_a_refusal_is_not_repeated_and_its_message_stays_out(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret-key")
    refusal = '{"error": {"type": "BadRequestError", "message": "cannot read: the secret document"}}'
    with completions_server(faults=[(400, {}, refusal)]) as server:
        with pytest.raises(LanguageModelError, match=r"HTTP 400 \(BadRequestError\) after 1 attempts") as caught:
            connected(server, key_variable="SOME_KEY").log_likelihoods(REQUESTS[:1])
        assert len(server.seen) == 1
        assert server.seen[0][0]["Authorization"] == "Bearer secret-key"
    assert "secret" not in str(caught.value)


def test_a_redirect_is_not_followed(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with completions_server() as other, completions_server() as server:
        server.faults.append((307, {"Location": f"{other.url}/completions"}, ""))
        with pytest.raises(LanguageModelError, match="HTTP 307"):
            connected(server).log_likelihoods(REQUESTS[:1])
        assert other.seen == []


def test_no_server_is_an_error_that_names_the_address():
    with completions_server() as server:
        url = server.url
    client = JsonClient(url, retries=1, wait=0.001)
    with pytest.raises(LanguageModelError, match=f"{url}/models: ConnectionRefusedError after 2 attempts"):
        client.get("models")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda found: {}, "log-probabilities of 0 tokens for 8"),
        (lambda found: {name: values[1:-1] for name, values in found.items()}, "of 7 tokens for 8"),
        (lambda found: found | {"token_logprobs": [None] * len(found["token_logprobs"])}, "left out log-probabilities"),
    ],
)
def test_log_probabilities_that_do_not_fit_are_refused(edit, message):
    with completions_server(edit=edit) as server, pytest.raises(LanguageModelError, match=message):
        connected(server).log_likelihoods(REQUESTS[:1])


@pytest.mark.parametrize("address", ["localhost:8000", "file:///etc/passwd", "http://user:password@host/v1"])
def test_addresses_that_are_none_are_refused(address):
    with pytest.raises(ConfigError, match="expected an address") as caught:
        JsonClient(address)
    assert "password" not in str(caught.value)
