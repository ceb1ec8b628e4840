"""Likelihood reward: how probable a candidate makes the expected output.

LLM-Embedder (arXiv 2310.07554), equation 1, is the product over the output's tokens, here as its logarithm ("sum");
the released scores are means per token ("mean").
"""

from collections.abc import Mapping, Sequence
from typing import Self

from evals.language_model.protocol import Continuation, LanguageModel
from trainer.examples import Example
from trainer.rewards.answers import check_answers, chosen_answers, combined
from trainer.rewards.contexts import ContextBuilder
from trainer.rewards.language_model import describe, open_reward_model, output_scores, room_for
from trainer.rewards.protocol import RewardOptions
from trainer.templates import Template, find_template


class LikelihoodReward:
    """Log-probability of the expected output after each candidate, in nats."""

    def __init__(self, lm: LanguageModel, template: Template, options: RewardOptions) -> None:
        self._lm = lm
        self._template = template
        self._options = options
        self._contexts = ContextBuilder(lm, template, options.candidate_tokens)

    @classmethod
    def build(cls, options: RewardOptions) -> Self:
        """Load the language model; errors as in `Reward`."""
        template = find_template(options.scenario, options.template)
        return cls(open_reward_model(options), template, options)

    @property
    def settings(self) -> Mapping[str, object]:
        """Model, template, normalisation, rule for several answers."""
        return describe(self._lm, self._template, self._options)

    def check(self, examples: Sequence[Example]) -> None:
        """Errors as in `Reward`."""
        check_answers(self._lm, self._template, examples, room=room_for(self._lm, self._options))

    def rewards(self, examples: Sequence[Example]) -> list[list[float]]:
        """One per candidate; all pairs of all examples go to the model together, which sorts them by length."""
        outputs = [self._outputs(example) for example in examples]
        counts = [max(self._lm.count_tokens(each)) for each in outputs]
        room = room_for(self._lm, self._options)
        pairs = [(example, candidate) for example in examples for candidate in example.candidates]
        rooms = [room - count for example, count in zip(examples, counts, strict=True) for _ in example.candidates]
        contexts = iter(self._contexts.with_candidates(pairs, rooms))
        requests = [
            Continuation(context, output)
            for example, each in zip(examples, outputs, strict=True)
            for context in [next(contexts) for _ in example.candidates]
            for output in each
        ]
        found = iter(output_scores(self._lm, requests, self._options))
        return [
            [combined([next(found) for _ in each], self._options.answers) for _ in example.candidates]
            for example, each in zip(examples, outputs, strict=True)
        ]

    def _outputs(self, example: Example) -> list[str]:
        chosen = chosen_answers(example, self._options.answers, seed=self._options.seed)
        return [self._template.output(answer) for answer in chosen]
