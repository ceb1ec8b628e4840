"""What rewards look like: how far apart they lie, how often they tie, how often one candidate takes all the weight."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from trainer.examples import Example

ONE_HOT = 0.99
"""A group is one-hot if a softmax over its rewards gives one candidate this weight: it is then a hard label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardReport:
    """Figures over the examples of one scenario.

    `spread` is the highest minus the lowest reward of an example (mean and 10th, 50th, 90th percentile); `tied_pairs`
    the share of pairs of candidates of one example with equal rewards; `flat` of examples whose rewards are all equal;
    `one_hot` of examples with a softmax weight of 0.99 or more at `reward_temperature`; `labelled_first` of examples
    with a labelled candidate where such a one has the highest reward; `auc` the share of pairs of a labelled and an
    unlabelled candidate of one example of which the labelled has the higher reward, ties a half, each example counting
    the same: 0.5 is a teacher that knows nothing. NaN where there is nothing to count.
    """

    scenario: str
    num_examples: int
    num_pairs: int
    reward_mean: float
    reward_min: float
    reward_max: float
    spread_mean: float
    spread_percentiles: tuple[float, float, float]
    tied_pairs: float
    flat: float
    one_hot: float
    reward_temperature: float
    labelled_first: float
    auc: float

    def to_json(self) -> dict[str, object]:
        """A JSON object: NaN, which JSON does not have, becomes null."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


class RewardStatistics:
    """Collects examples one at a time; only a few numbers of each are kept."""

    def __init__(self, scenario: str, *, reward_temperature: float = 1.0) -> None:
        self._scenario = scenario
        self._temperature = reward_temperature
        self._spreads: list[float] = []
        self._sum = 0.0
        self._areas: list[float] = []
        self._counts: Counter[str] = Counter()
        self._low, self._high = math.inf, -math.inf

    def add(self, examples: Iterable[Example]) -> None:
        """Count scored examples."""
        for example in examples:
            rewards = list(example.rewards or ())
            low, high = min(rewards), max(rewards)
            self._spreads.append(high - low)
            self._sum += math.fsum(rewards)
            self._low, self._high = min(self._low, low), max(self._high, high)
            size = len(rewards)
            self._counts["pairs"] += size
            self._counts["couples"] += size * (size - 1) // 2
            self._counts["tied"] += sum(each * (each - 1) // 2 for each in Counter(rewards).values())
            if size > 1:
                self._counts["groups"] += 1
                self._counts["flat"] += low == high
                self._counts["one_hot"] += _largest_weight(rewards, self._temperature) >= ONE_HOT
            is_labelled = [candidate.label > 0 for candidate in example.candidates]
            if any(is_labelled):
                self._counts["labelled"] += 1
                highest = [known for known, reward in zip(is_labelled, rewards, strict=True) if reward == high]
                self._counts["labelled_first"] += any(highest)
                if not all(is_labelled):
                    self._areas.append(_area_under_curve(rewards, is_labelled))

    def report(self) -> RewardReport:
        """The figures so far."""
        counts, spreads = self._counts, sorted(self._spreads)
        return RewardReport(
            scenario=self._scenario,
            num_examples=len(spreads),
            num_pairs=counts["pairs"],
            reward_mean=_share(self._sum, counts["pairs"]),
            reward_min=self._low,
            reward_max=self._high,
            spread_mean=_share(math.fsum(spreads), len(spreads)),
            spread_percentiles=(_percentile(spreads, 10), _percentile(spreads, 50), _percentile(spreads, 90)),
            tied_pairs=_share(counts["tied"], counts["couples"]),
            flat=_share(counts["flat"], counts["groups"]),
            one_hot=_share(counts["one_hot"], counts["groups"]),
            reward_temperature=self._temperature,
            labelled_first=_share(counts["labelled_first"], counts["labelled"]),
            auc=_share(math.fsum(self._areas), len(self._areas)),
        )


def report_table(reports: Sequence[RewardReport]) -> str:
    """A Markdown table, one line per scenario."""
    head = (
        "| scenario | queries | pairs | reward mean (min to max) | spread mean (p10, p50, p90) | tied pairs | flat "
        "| one-hot | labelled first | AUC |"
    )
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for each in reports:
        low, middle, high = each.spread_percentiles
        shares = [each.tied_pairs, each.flat, each.one_hot, each.labelled_first]
        shown = " | ".join("-" if math.isnan(share) else f"{share:.1%}" for share in shares)
        lines.append(
            f"| {each.scenario} | {each.num_examples:,} | {each.num_pairs:,} "
            f"| {each.reward_mean:.3f} ({each.reward_min:.3f} to {each.reward_max:.3f}) "
            f"| {each.spread_mean:.3f} ({low:.3f}, {middle:.3f}, {high:.3f}) | {shown} "
            f"| {'-' if math.isnan(each.auc) else f'{each.auc:.3f}'} |"
        )
    return "\n".join(lines)


def _area_under_curve(rewards: Sequence[float], is_labelled: Sequence[bool]) -> float:
    labelled = [reward for reward, known in zip(rewards, is_labelled, strict=True) if known]
    others = [reward for reward, known in zip(rewards, is_labelled, strict=True) if not known]
    wins = sum((one > other) + 0.5 * (one == other) for one in labelled for other in others)
    return wins / (len(labelled) * len(others))


def _largest_weight(rewards: Sequence[float], temperature: float) -> float:
    high = max(rewards)
    return 1 / sum(math.exp((reward - high) / temperature) for reward in rewards)


def _share(part: float, whole: int) -> float:
    return part / whole if whole else math.nan


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """The value at the nearest rank."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else math.nan
