"""A language model behind an OpenAI-compatible completions endpoint that gives the prompt's log-probabilities.

vLLM, SGLang and others answer POST /completions with `echo` and `logprobs`. Prompts are sent as ids, so that the
server cannot tokenise them differently and the scored span is known exactly.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from evals.language_model.decoding import text_before
from evals.language_model.http_json import JsonClient
from evals.language_model.protocol import Continuation, LanguageModelError, Sampling, Score
from evals.language_model.spans import Span, SpanBuilder, check_span
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import ConfigError
from rag_embedder.model_source import locate

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")

MAX_STOPS = 4
"""The interface takes no more stop texts; all are applied here again."""


class ServerLanguageModel:
    """Requests go out in threads; one span per request, so that one failure repeats little."""

    def __init__(
        self,
        client: JsonClient,
        vocabulary: TokenizerVocabulary,
        *,
        model: str,
        max_length: int,
        concurrency: int = 8,
    ) -> None:
        """Use a client and a tokenizer; `load` finds both."""
        self.name = model
        self.max_length = max_length
        self._client = client
        self._vocabulary = vocabulary
        self._spans = SpanBuilder(vocabulary)
        self._concurrency = concurrency

    @classmethod
    def load(
        cls,
        base_url: str,
        *,
        tokenizer: str | Path | None = None,
        model: str | None = None,
        max_length: int | None = None,
        concurrency: int = 8,
        key_variable: str = "OPENAI_API_KEY",
    ) -> "ServerLanguageModel":
        """Connect to an address such as http://localhost:8000/v1.

        `tokenizer` is a folder or hub id with the model's tokenizer files: by default the model's own name. `model` may
        be left out if the server has one only; `max_length` if the server tells it (vLLM does) or the tokenizer does.

        Raises:
            LanguageModelError: if the server does not answer.
            ConfigError: if the model or its length is not known.
            ModelLoadError: if the tokenizer is not found.
        """
        client = JsonClient(base_url, key_variable=key_variable)
        entry = _choose(client.get("models"), model)
        vocabulary = TokenizerVocabulary.load(locate(tokenizer or entry["id"]).folder)
        limit = max_length or entry.get("max_model_len") or vocabulary.longest
        if not isinstance(limit, int) or limit < 2:
            raise ConfigError(f"model {entry['id']}: the server does not say how much it reads: pass max_length.")
        return cls(client, vocabulary, model=entry["id"], max_length=limit, concurrency=concurrency)

    @property
    def fingerprint(self) -> str:
        """Over the address, the model's name and the tokenizer: the weights behind them cannot be seen."""
        parts = [self._client.base_url, self.name, self._vocabulary.description(), str(self.max_length)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens."""
        return self._vocabulary.encode(texts, special=False)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each row of ids, special tokens left out."""
        return self._vocabulary.decode(ids)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        return [len(ids) for ids in self.tokenize(texts)]

    def log_likelihoods(self, requests: Sequence[Continuation], *, max_length: int | None = None) -> list[Score]:
        """One score per request, in order; errors as in `LanguageModel`, and LanguageModelError from the server."""
        # The server generates one token that nobody asked for: it needs a place.
        spans = self._spans.spans(requests, min(self._room(max_length), self.max_length - 1))
        return [
            Score(sum(values), len(values), is_greedy) for values, is_greedy in self._in_threads(self._score, spans)
        ]

    def token_log_likelihoods(self, ids: Sequence[int], score_from: int) -> list[float]:
        """Log p of `ids` from `score_from` on, in nats; errors as in `LanguageModel`."""
        check_span(ids, score_from, self.max_length - 1)
        return self._score(Span(tuple(ids[:score_from]), tuple(ids[score_from:])))[0]

    def generate(
        self, prompts: Sequence[str], *, max_new_tokens: int, stop: Sequence[str] = (), max_length: int | None = None
    ) -> list[str]:
        """Greedy decoding of each prompt, in order; new text up to the first of the `stop` texts."""
        rows = self._spans.prompts(prompts, self._room(max_length) - max_new_tokens)

        def answer(row: tuple[int, ...]) -> str:
            options: dict[str, object] = {"max_tokens": max_new_tokens}
            if stop:
                options["stop"] = list(stop[:MAX_STOPS])
            return text_before(str(self._complete(row, options)["text"]), stop)

        return self._in_threads(answer, rows)

    def sample(
        self, prompts: Sequence[str], sampling: Sampling, *, seeds: Sequence[str], max_length: int | None = None
    ) -> list[list[str]]:
        """Refused: servers draw from streams of their own, so the same seed need not give the same outputs."""
        raise ConfigError(
            f"{self.name}: outputs cannot be sampled from a server, whose draws cannot be repeated; expected a local "
            "model: give its folder, or use a reward that samples nothing."
        )

    def _score(self, span: Span) -> tuple[list[float], bool]:
        ids = [*span.context, *span.continuation]
        answer = self._complete(ids, {"max_tokens": 1, "echo": True, "logprobs": 1})
        found = answer.get("logprobs") or {}
        values, tops = found.get("token_logprobs") or [], found.get("top_logprobs") or []
        # One more than was sent where the generated token is listed too.
        if len(values) - len(ids) not in (0, 1) or len(tops) != len(values):
            raise LanguageModelError(
                f"the server gave log-probabilities of {len(values)} tokens for {len(ids)} that were sent; expected "
                "one each. It must support `echo` together with `logprobs`, and take prompts as ids."
            )
        scored = range(len(span.context), len(ids))
        numbers = [values[place] for place in scored]
        if not all(isinstance(value, (int, float)) for value in numbers):
            raise LanguageModelError("the server left out log-probabilities inside the prompt; expected numbers.")
        is_greedy = all(values[place] >= max((tops[place] or {}).values(), default=0.0) for place in scored)
        return [float(value) for value in numbers], is_greedy

    def _complete(self, ids: Sequence[int], options: dict[str, object]) -> Any:  # noqa: ANN401  (a JSON object)
        content = {"model": self.name, "prompt": list(ids), "temperature": 0, **options}
        answer = self._client.post("completions", content)
        try:
            return answer["choices"][0]
        except (KeyError, IndexError, TypeError):
            raise LanguageModelError("the server's answer has no choices; expected an OpenAI completion.") from None

    def _in_threads(self, work: Callable[[ItemT], AnswerT], items: Sequence[ItemT]) -> list[AnswerT]:
        with ThreadPoolExecutor(self._concurrency) as pool:
            waiting = [pool.submit(work, item) for item in items]
            try:
                return [each.result() for each in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _room(self, max_length: int | None) -> int:
        return self.max_length if max_length is None else min(max_length, self.max_length)


def _choose(listing: Any, model: str | None) -> dict[str, Any]:  # noqa: ANN401  (JSON)
    entries = [entry for entry in (listing or {}).get("data", []) if isinstance(entry, dict) and "id" in entry]
    names = [entry["id"] for entry in entries]
    if model is None and len(entries) == 1:
        return entries[0]
    if model in names:
        return entries[names.index(model)]
    raise ConfigError(f"model {model!r} is not served there; expected one of: {', '.join(names) or 'none is'}.")
