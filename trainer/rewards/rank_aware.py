"""Rank-aware reward: how far a candidate moves the expected output up among sampled outputs.

"A Multi-Task Embedder For Retrieval Augmented LLMs" (ACL 2024), equation 3: R(C) = rank of the expected output when
nothing is retrieved, minus its rank with candidate C, by the likelihood of N sampled outputs. Unlike the likelihood
itself it does not move when a candidate makes every output more or less probable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from evals.end_task.answer_metrics import normalise
from evals.language_model.protocol import Continuation, LanguageModel, Sampling
from trainer.examples import Example
from trainer.rewards.answers import check_answers, chosen_answers, combined
from trainer.rewards.contexts import ContextBuilder
from trainer.rewards.language_model import describe, open_reward_model, output_scores, room_for
from trainer.rewards.protocol import RankTies, RewardOptions
from trainer.templates import Template, find_template


def rank_of(value: float, others: Sequence[float], *, ties: RankTies = "optimistic") -> float:
    """Rank of a likelihood among others, 1 is the highest; equal ones stand behind it, or half of them ("mid")."""
    better = sum(other > value for other in others)
    return 1 + better + (0.5 * sum(other == value for other in others) if ties == "mid" else 0)


def rank_reward(before: float, after: float) -> float:
    """Rank without retrieval minus rank with the candidate: from -N to N."""
    return before - after


@dataclass(frozen=True, slots=True)
class _Condition:
    """One context of one example: the expected outputs, then the sampled ones, as they follow it."""

    context: str
    expected: tuple[str, ...]
    sampled: tuple[str, ...]


class RankAwareReward:
    """Rank gained by the expected output among `options.samples` outputs that the model samples.

    With the pool "shared" they are sampled once, nothing retrieved, and scored after every candidate; with "separate"
    they are sampled again after each candidate. Samples that say the same, or what is expected, count once or not.
    """

    def __init__(self, lm: LanguageModel, template: Template, options: RewardOptions) -> None:
        self._lm = lm
        self._template = template
        self._options = options
        self._contexts = ContextBuilder(lm, template, options.candidate_tokens)
        self._sampling = Sampling(
            count=options.samples,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            stop=template.stop,
        )

    @classmethod
    def build(cls, options: RewardOptions) -> Self:
        """Load the language model; errors as in `Reward`."""
        template = find_template(options.scenario, options.template)
        return cls(open_reward_model(options), template, options)

    @property
    def settings(self) -> Mapping[str, object]:
        """Those of a likelihood, and how outputs are sampled and ranked."""
        options = self._options
        return {
            **describe(self._lm, self._template, options),
            "samples": options.samples,
            "max_new_tokens": options.max_new_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "pool": options.pool,
            "rank_ties": options.rank_ties,
        }

    def check(self, examples: Sequence[Example]) -> None:
        """Errors as in `Reward`; also if the model cannot sample, or reads less than is sampled."""
        check_answers(self._lm, self._template, examples, room=room_for(self._lm, self._options))
        probe = Sampling(count=1, max_new_tokens=self._sampling.max_new_tokens)
        self._lm.sample([], probe, seeds=[], max_length=self._options.max_length)

    def rewards(self, examples: Sequence[Example]) -> list[list[float]]:
        """One per candidate; the outputs after one context share its keys and values."""
        conditions = self._conditions(examples)
        ranks = iter(self._ranks(conditions))
        found: list[list[float]] = []
        for example in examples:
            before = next(ranks)
            after = [next(ranks) for _ in example.candidates]
            found.append([self._reward(before, each) for each in after])
        return found

    def _reward(self, before: Sequence[float], after: Sequence[float]) -> float:
        return combined([rank_reward(*pair) for pair in zip(before, after, strict=True)], self._options.answers)

    def _conditions(self, examples: Sequence[Example]) -> list[_Condition]:
        """For each example: nothing retrieved, then each of its candidates."""
        expected = [chosen_answers(example, self._options.answers, seed=self._options.seed) for example in examples]
        room = room_for(self._lm, self._options)
        rooms = [room - self._longest(answers) for answers in expected]
        pairs = [(example, candidate) for example in examples for candidate in example.candidates]
        widths = [width for example, width in zip(examples, rooms, strict=True) for _ in example.candidates]
        with_candidates = iter(self._contexts.with_candidates(pairs, widths))
        contexts = [
            [self._template.alone(example), *(next(with_candidates) for _ in example.candidates)]
            for example in examples
        ]
        sampled = iter(self._sampled(examples, contexts))
        return [
            _Condition(context, tuple(map(self._template.output, answers)), next(sampled))
            for answers, each in zip(expected, contexts, strict=True)
            for context in each
        ]

    def _longest(self, answers: Sequence[str]) -> int:
        """Tokens that any output may have: one that is expected, or one that is sampled."""
        return max(*self._lm.count_tokens(list(map(self._template.output, answers))), self._sampling.max_new_tokens)

    def _sampled(self, examples: Sequence[Example], contexts: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """The sampled outputs of every context, in order."""
        seeds = [[f"{self._options.seed} {example.id}"] for example in examples]
        if self._options.pool == "separate":
            for seed, example in zip(seeds, examples, strict=True):
                seed += [f"{seed[0]} {candidate.id}" for candidate in example.candidates]
        prompts = [context for each, seed in zip(contexts, seeds, strict=True) for context in each[: len(seed)]]
        outputs = iter(
            self._lm.sample(
                prompts,
                self._sampling,
                seeds=[one for each in seeds for one in each],
                max_length=self._options.max_length,
            )
        )
        made: list[tuple[str, ...]] = []
        for example, each, seed in zip(examples, contexts, seeds, strict=True):
            pools = [self._distinct(next(outputs), example) for _ in seed]
            made += pools if len(pools) == len(each) else pools * len(each)
        return made

    def _distinct(self, outputs: Sequence[str], example: Example) -> tuple[str, ...]:
        """Outputs as they follow a context, without empty ones, repetitions and what is expected."""
        expected = {_key(answer) for answer in example.answers}
        kept = {_key(output): output for output in reversed(outputs) if _key(output) not in expected}
        return tuple(self._template.output(output) for key, output in reversed(kept.items()) if key)

    def _ranks(self, conditions: Sequence[_Condition]) -> list[list[float]]:
        """For each condition, the rank of each expected output among itself and the sampled ones."""
        requests = [
            Continuation(each.context, output) for each in conditions for output in (*each.expected, *each.sampled)
        ]
        scores = iter(output_scores(self._lm, requests, self._options))
        ranks: list[list[float]] = []
        for each in conditions:
            expected = [next(scores) for _ in each.expected]
            sampled = [next(scores) for _ in each.sampled]
            ranks.append([rank_of(value, sampled, ties=self._options.rank_ties) for value in expected])
        return ranks


def _key(text: str) -> str:
    """What two outputs are compared by; text of punctuation alone, such as code, by itself."""
    return normalise(text, drop_articles=False) or text.strip()
