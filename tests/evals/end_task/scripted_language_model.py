"""A language model that follows a script: it sees words, and remembers everything it was asked."""

import re

from evals.language_model import Score

_TOKEN = re.compile(r"\n| ?[^\s]+| ")


class ScriptedLanguageModel:
    """A token is a word with the space before it, or a newline. No start token.

    `loss(context, continuation)` is the mean NLL; `answer(prompt)` is what it writes. Both see what is left of a
    context after it was cut to `max_length` tokens together with the continuation.
    """

    name = "scripted"
    fingerprint = "scripted"

    def __init__(self, *, loss=lambda context, continuation: 1.0, answer=lambda prompt: "", max_length=10_000):
        self.max_length = max_length
        self.scored, self.prompts, self.stops = [], [], []
        self._loss, self._answer = loss, answer
        self._ids, self._tokens = {}, []

    def tokenize(self, texts):
        return [[self._id(token) for token in _TOKEN.findall(text)] for text in texts]

    def decode(self, ids):
        return ["".join(self._tokens[number] for number in row) for row in ids]

    def count_tokens(self, texts):
        return [len(ids) for ids in self.tokenize(texts)]

    def log_likelihoods(self, requests, *, max_length=None):
        limit = min(self.max_length, max_length or self.max_length)
        return [self._score(request, limit) for request in requests]

    def generate(self, prompts, *, max_new_tokens, stop=(), max_length=None):
        limit = min(self.max_length, max_length or self.max_length) - max_new_tokens
        seen = [self.decode([self.tokenize([prompt])[0][-limit:]])[0] for prompt in prompts]
        self.prompts += seen
        self.stops.append(tuple(stop))
        return [self._answer(prompt) for prompt in seen]

    def _score(self, request, limit):
        context, continuation = (
            self.tokenize([part])[0] if isinstance(part, str) else list(part)
            for part in (request.context, request.continuation)
        )
        context = context[max(0, len(context) + len(continuation) - limit) :]
        texts = tuple(self.decode([context, continuation]))
        self.scored.append(texts)
        return Score(-self._loss(*texts) * len(continuation), len(continuation), False)

    def _id(self, token):
        if token not in self._ids:
            self._ids[token] = len(self._tokens)
            self._tokens.append(token)
        return self._ids[token]
