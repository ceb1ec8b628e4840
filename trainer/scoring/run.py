"""One run of scoring: read, check, estimate, score what is missing, report."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evals.whole_file import write_json
from rag_embedder.errors import ConfigError, InputError
from trainer.examples import Example
from trainer.reading import read_examples
from trainer.rewards.protocol import Reward
from trainer.scoring.estimate import Estimate, estimate
from trainer.scoring.report import RewardReport, RewardStatistics
from trainer.scoring.shards import (
    REPORT_FILE,
    Shard,
    digest_of,
    is_written,
    open_folder,
    plan_shards,
    read_shard,
    remove_leftovers,
    write_shard,
)

_BLOCK_PAIRS = 1024
"""Pairs that go to the reward together: enough to sort by length, few enough to show progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePlan:
    """What is scored, and where to.

    A shard closes at `shard_pairs` pairs: this much is lost if the run is killed. `part` (i, n) takes every n-th
    shard from the i-th on, so that n processes, one per GPU, share one folder. With `skip_unscorable`, examples that
    the reward refuses, such as those whose answer is longer than what the model reads, are left out.

    Raises:
        ConfigError: for a number out of its range.
    """

    data: Path
    scenario: str
    reward: str
    out: Path
    shard_pairs: int = 4096
    part: tuple[int, int] = (0, 1)
    reward_temperature: float = 1.0
    skip_unscorable: bool = False

    def __post_init__(self) -> None:
        index, count = self.part
        if not 0 <= index < count:
            raise ConfigError(f"part: got {index}/{count}; expected i/n with 0 <= i < n, such as 0/8.")
        if self.shard_pairs < 1:
            raise ConfigError(f"shard_pairs: got {self.shard_pairs}; expected 1 or more.")
        if not 0 < self.reward_temperature < float("inf"):
            raise ConfigError(f"reward_temperature: got {self.reward_temperature}; expected more than 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOutcome:
    """What a run did. `report` is None while shards are missing, which other parts write.

    `num_left_out` counts examples that cannot be scored.
    """

    num_scored_pairs: int
    num_kept_pairs: int
    num_missing_shards: int
    num_left_out: int
    seconds: float
    estimate: Estimate | None
    report: RewardReport | None


def score(
    plan: ScorePlan,
    reward: Reward,
    *,
    on_estimate: Callable[[Estimate], None] | None = None,
    advance: Callable[[int], None] = lambda pairs: None,
    provenance: Mapping[str, object] | None = None,
    stops_after_estimate: bool = False,
) -> ScoreOutcome:
    """Score every pair that has no reward yet. Nothing is estimated unless someone listens.

    `advance` hears of every pair that is done; `provenance` goes into the report's file.

    Raises:
        InputError: if an example cannot be scored, or the folder holds something else; before anything is scored.
        ConfigError: if the folder holds scores made with other settings.
    """
    given = [replace(example, rewards=None) for example in read_examples(plan.data)]
    examples = _scorable(plan, reward, given)
    shards = plan_shards(examples, plan.shard_pairs)
    if not stops_after_estimate:
        open_folder(plan.out, _settings(plan, reward, examples))
    mine = [shard for shard in shards if shard.number % plan.part[1] == plan.part[0]]
    missing = [shard for shard in mine if not is_written(plan.out, shard)]
    guess = None
    if on_estimate is not None:
        guess = estimate(reward, [example for shard in missing for example in examples[shard.start : shard.stop]])
        on_estimate(guess)
    start = time.perf_counter()
    if not stops_after_estimate:
        for shard in missing:
            write_shard(plan.out, shard, _scored(reward, examples[shard.start : shard.stop], advance))
    seconds = time.perf_counter() - start
    absent = sum(not is_written(plan.out, shard) for shard in shards)
    return ScoreOutcome(
        num_scored_pairs=0 if stops_after_estimate else _num_pairs(missing, examples),
        num_kept_pairs=_num_pairs(mine, examples) - _num_pairs(missing, examples),
        num_missing_shards=absent,
        num_left_out=len(given) - len(examples),
        seconds=seconds,
        estimate=guess,
        report=None if absent or stops_after_estimate else _finish(plan, shards, examples, provenance or {}),
    )


def _settings(plan: ScorePlan, reward: Reward, examples: Sequence[Example]) -> dict[str, object]:
    """What decides the folder's contents."""
    return {
        "format": 1,
        "scenario": plan.scenario,
        "reward": plan.reward,
        "settings": dict(reward.settings),
        "data_sha256": digest_of(plan.data),
        "num_examples": len(examples),
        "shard_pairs": plan.shard_pairs,
    }


def _scored(reward: Reward, examples: Sequence[Example], advance: Callable[[int], None]) -> list[Example]:
    scored: list[Example] = []
    for block in _blocks(examples):
        found = reward.rewards(block)
        scored += [replace(each, rewards=tuple(values)) for each, values in zip(block, found, strict=True)]
        advance(sum(map(len, found)))
    return scored


def _blocks(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    return (examples[shard.start : shard.stop] for shard in plan_shards(examples, _BLOCK_PAIRS))


def _num_pairs(shards: Sequence[Shard], examples: Sequence[Example]) -> int:
    return sum(len(example.candidates) for shard in shards for example in examples[shard.start : shard.stop])


def _finish(
    plan: ScorePlan, shards: Sequence[Shard], examples: Sequence[Example], provenance: Mapping[str, object]
) -> RewardReport:
    remove_leftovers(plan.out)
    statistics = RewardStatistics(plan.scenario, reward_temperature=plan.reward_temperature)
    for shard in shards:
        statistics.add(read_shard(plan.out, shard, examples))
    report = statistics.report()
    write_json({"format": 1, "provenance": dict(provenance), "report": report.to_json()}, plan.out / REPORT_FILE)
    return report


def _scorable(plan: ScorePlan, reward: Reward, examples: Sequence[Example]) -> Sequence[Example]:
    """All of them, or those that the reward takes if the plan leaves out the others."""
    try:
        reward.check(examples)
    except InputError as error:
        kept = [example for example in examples if _passes(reward, example)] if plan.skip_unscorable else []
        if kept:
            return kept
        hint = "" if plan.skip_unscorable else " (--skip-unscorable leaves out all such examples.)"
        raise InputError(f"{plan.data}: {error}{hint}") from error
    return examples


def _passes(reward: Reward, example: Example) -> bool:
    try:
        reward.check([example])
    except InputError:
        return False
    return True
